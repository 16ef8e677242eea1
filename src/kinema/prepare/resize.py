"""`kinema prepare resize`: re-encode a tree of videos at one size."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from kinema.config.bounds import check_bounds
from kinema.errors import UserError
from kinema.prepare.encoding import EncodingOptions, reencode
from kinema.prepare.sources import video_units
from kinema.prepare.work.jobs import Summary, claim_folder, run_jobs

_LISTS = (".txt", ".csv", ".tsv", ".list")
REPORT = "failures.csv"
"""File in the output folder with the videos that failed, and the reasons."""


def prepare_resize(
    source: Path, output: Path, options: EncodingOptions, *, workers: int = 0, cluster: str = ""
) -> Summary:
    """Re-encode every video of the tree `source` to the same relative path in `output`, see `encode`.

    Names keep all but their suffix, which becomes `.mp4`. `output/resize.json` records the options,
    `output/failures.csv` the videos that failed. Another call continues with what is missing.

    Args:
        source: A folder of videos at any depth, or one video.
        output: A new folder, or that of an earlier call with the same options.
        options: Size, keyframes and quality.
        workers: Number of processes; 0: one per core of this machine or of the cluster.
        cluster: Address of a Ray cluster to work on, see `on_cluster`; empty: this machine.

    Raises:
        UserError: An option is out of range, `source` is a list, there are no videos, two videos have the same output,
            or the output folder was written with other options.
    """
    check_bounds(options)
    if source.suffix.lower() in _LISTS and source.is_file():
        raise UserError(f"'{source}' is a list: pass the folder of the videos instead")
    units = video_units(source, output, suffix=".mp4")
    settings = asdict(options) | {"keyframes": options.spacing}
    claim_folder(
        output, "resize.json", {name: settings[name] for name in settings if name not in ("dense", "all_intra")}
    )
    return run_jobs(
        partial(reencode, options),
        units,
        title="Resizing videos",
        report=output / REPORT,
        workers=workers,
        cluster=cluster,
    )
