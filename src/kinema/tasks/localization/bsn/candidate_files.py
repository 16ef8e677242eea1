"""BSN's candidates on disk, a file for each video."""

import zipfile
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from kinema import strict_json
from kinema.data.features.spans import FeatureSpan
from kinema.errors import MediaError, UserError
from kinema.storage import check_outage, replacing, write_text
from kinema.tasks.localization.bsn.options import CandidateOptions
from kinema.tasks.localization.bsn.pgm import Candidates, scored
from kinema.tasks.localization.metrics.results import Proposals, in_seconds
from kinema.tasks.localization.metrics.segments import Singles
from kinema.tasks.localization.proposals import Scores, suppress
from kinema.tasks.localization.soft_nms import SoftNmsOptions

_ORIGIN = "candidates.json"


@dataclass(frozen=True, kw_only=True)
class Described(Candidates):
    """The candidates of a video as PEM is trained on them.

    features: (n, C) of each; overlaps: (n,) its largest tIoU with an instance. span: the seconds of the video that the
    candidates' times are fractions of. windows: in how many windows they were generated, each as long as the fraction
    `window_length` of the span.
    """

    features: Singles
    overlaps: Singles
    span: FeatureSpan
    windows: int = 1
    window_length: float = 1.0

    def proposals(self, confidence: Scores, options: SoftNmsOptions) -> Proposals:
        """Return the proposals in seconds, given PEM's confidence (n,) in each candidate."""
        candidates = scored(self, confidence)
        of_windows = replace(candidates, segments=candidates.segments / self.window_length)
        found = suppress(of_windows, options, windows=self.windows)
        return in_seconds(replace(found, segments=found.segments * self.window_length), self.span)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Origin of candidates: a digest of TEM's weights, and the options."""

    tem: str
    options: CandidateOptions


def write_origin(folder: Path, origin: Origin) -> None:
    """Write the origin of a folder's candidates.

    Raises:
        OSError: the file cannot be written.
    """
    write_text(folder / _ORIGIN, strict_json.dumps(asdict(origin), indent=2) + "\n")


def read_origin(folder: Path) -> Origin | None:
    """Read the origin of a folder's candidates; None where there are none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / _ORIGIN
    try:
        return TypeAdapter(Origin).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def file_of(folder: str | Path, video: str) -> Path:
    """Return the file of a video's candidates."""
    return Path(folder) / f"{video}.npz"


def write_described(folder: Path, video: str, described: Described) -> None:
    """Write the candidates of a video atomically.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(file_of(folder, video)) as temporary, temporary.open("wb") as file:
        np.savez(file, **{**vars(described), "span": np.array(astuple(described.span))})


def read_described(folder: str | Path, video: str) -> Described:
    """Read the candidates of a video.

    Raises:
        MediaError: there are none, or the file is damaged.
        StorageOutage: the disk does not answer.
    """
    path = file_of(folder, video)
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in ("segments", "starts", "ends", "features", "overlaps")}
            if "span" not in found:
                raise MediaError(str(path), "it is of an earlier version: generate the candidates again")
            windows = {name: found[name].item() for name in ("windows", "window_length") if name in found}
            return Described(**arrays, span=FeatureSpan(*found["span"].tolist()), **windows)
    except FileNotFoundError:
        raise MediaError(str(path), "no candidates of this video: proposal generation writes them") from None
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        check_outage(str(path), error)
        raise MediaError(str(path), f"it holds no candidates, or is damaged ({error})") from None
