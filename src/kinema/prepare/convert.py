"""Options of preparations, and the steps that all conversions of labeled videos share."""

from collections.abc import Callable, Collection
from dataclasses import asdict, fields
from functools import partial
from typing import Any, TypeVar

from kinema.config import check_bounds
from kinema.data.kinds import MediaKind
from kinema.data.patience import patiently
from kinema.prepare.lists import check_listable
from kinema.prepare.options import FolderOptions, VideoOptions
from kinema.prepare.sources import LabeledUnits, labeled_units
from kinema.prepare.work.jobs import Summary, Unit, claim_folder, run_jobs

REPORT = "failures.csv"
"""File in the output folder with the videos that failed, and the reasons."""


Options = TypeVar("Options", bound=VideoOptions)


def convert_videos(
    options: Options,
    work: Callable[[Options, Unit], None],
    *,
    title: str,
    record: str,
    unrecorded: Collection[str] = (),
    kind: MediaKind = "video",
    suffix: str = "",
    option: str = "",
) -> tuple[LabeledUnits, Summary]:
    """Call `work(options, unit)` for every video of `options.source` whose output is missing, see `run_jobs`.

    The file `record` in the output folder has the settings, except `unrecorded` ones, `REPORT` the videos that failed.
    Another call continues with what is missing. `kind`, `suffix` and `option` are as in `video_units`.

    Raises:
        UserError: An option is out of range, there are no videos, two videos have the same output, a name cannot be
            listed, or the output folder was written with other settings.
        StorageOutage: A server does not answer.
    """
    check_bounds(options)
    videos = labeled_units(
        options.source,
        options.output,
        root=options.root,
        labels=options.labels,
        kind=kind,
        suffix=suffix,
        option=option,
    )
    check_listable(videos, options.output)
    claim_folder(options.output, record, settings_of(options, unrecorded))
    return videos, convert_units(options, work, videos.units, title=title)


def convert_units(
    options: FolderOptions, work: Callable[[Any, Unit], None], units: list[Unit], *, title: str
) -> Summary:
    """Call `work(options, unit)` for every unit whose output is missing, see `run_jobs`."""
    return run_jobs(
        partial(_patiently, work, options),
        units,
        title=title,
        report=options.output / REPORT,
        workers=options.workers,
        cluster=options.cluster,
    )


def _patiently(work: Callable[[Any, Unit], None], options: FolderOptions, unit: Unit) -> None:
    """Do the work on a unit, again while its storage does not answer: an output appears at the end, complete."""
    patiently(partial(work, options, unit))


def settings_of(options: FolderOptions, unrecorded: Collection[str] = ()) -> dict[str, Any]:
    """Return the options that determine the outputs: all but those of `VideoOptions` and `unrecorded` ones."""
    others = {field.name for field in fields(VideoOptions)}.union(unrecorded)
    return {name: value for name, value in asdict(options).items() if name not in others}
