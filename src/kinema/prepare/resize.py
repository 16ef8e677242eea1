"""`kinema prepare resize`: re-encode a tree of videos at one size."""

from kinema.config import check_bounds
from kinema.errors import UserError
from kinema.prepare.convert import convert_units, settings_of
from kinema.prepare.encoding import reencode
from kinema.prepare.options import ResizeOptions
from kinema.prepare.sources import source_is_folder, video_units
from kinema.prepare.work.jobs import Summary, claim_folder
from kinema.storage import suffix

_LISTS = (".txt", ".csv", ".tsv", ".list")


def prepare_resize(options: ResizeOptions) -> Summary:
    """Re-encode every video of the tree to the same relative path in `options.output`, see `encode`.

    `resize.json` records the options, `failures.csv` the videos that failed. Another call continues with what is
    missing.

    Raises:
        UserError: An option is out of range, `source` is a list, there are no videos, two videos have the same output,
            or the output folder was written with other options.
        StorageOutage: A server does not answer.
    """
    check_bounds(options)
    if suffix(str(options.source)) in _LISTS and not source_is_folder(options.source):
        raise UserError(f"'{options.source}' is a list: pass the folder of the videos instead")
    units = video_units(options.source, options.output, suffix=".mp4")
    settings = settings_of(options, ("dense", "all_intra")) | {"keyframes": options.spacing}
    claim_folder(options.output, "resize.json", settings)
    return convert_units(options, reencode, units, title="Resizing videos")
