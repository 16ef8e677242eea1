"""Results of a test of any task."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kinema import strict_json
from kinema.data.bad_files import BadFiles
from kinema.data.samples import BadFile
from kinema.storage import write_text
from kinema.storage.outputs import cannot_write
from kinema.training.config import DataOptions
from kinema.weights.own_paths import write_tested_on


@contextmanager
def writing_results(
    folder: Path, metrics: dict[str, float], bad: Sequence[BadFile], *, data: DataOptions, num_videos: int
) -> Iterator[None]:
    """Write `metrics.json`, `data.json` and, if there are any, `bad_files.csv`; the block writes what else there is.

    Raises:
        UserError: more videos are bad than `max_bad_fraction` allows, or a file cannot be written.
    """
    listing = folder / "bad_files.csv"
    listing.unlink(missing_ok=True)
    bad_files = BadFiles(num_videos=num_videos, max_fraction=data.max_bad_fraction, listing=listing)
    bad_files.add(bad)
    bad_files.check()
    try:
        write_tested_on(folder, data)
        write_text(folder / "metrics.json", strict_json.dumps(metrics, indent=2) + "\n")
        yield
    except OSError as error:
        raise cannot_write(error, folder) from error
