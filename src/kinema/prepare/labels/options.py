"""Options of `kinema prepare labels`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from kinema.data.kinds import LabelMode

Tool = Literal["label-studio", "cvat", "elan", "via", "boris"]


@dataclass(frozen=True, kw_only=True)
class LabelsOptions:
    """Convert labels of an annotation tool to a list of segments, or to ground truth for localization.

    Example: kinema prepare labels project.json --from label-studio --root videos --output segments.csv
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Files of the tool: an export of Label Studio (JSON, JSON-MIN) or CVAT (XML), a document of ELAN (.eaf), a project
    of VIA 3 (JSON) or its CSV, a project of BORIS (.boris) or its events (CSV, TSV)."""
    tool: Annotated[Tool, tyro.conf.arg(name="from")]
    """Tool that wrote them."""
    output: Path
    """File to write: a .csv of path, start, end (seconds) and class, for --data.train; or a .json, ground truth of
    ActivityNet's layout."""
    root: Path | None = None
    """Folder of the videos; default: that of the first FILE. Paths in the files may be those of another machine."""
    video: str = ""
    """Video of files that name none, such as CVAT's exports of a job."""
    fps: Annotated[float, Ge(0)] = 0
    """Frames per second by which the tool counts frames; 0: as the file says, else by the videos' time stamps."""
    layer: str = ""
    """Labels to take: those of a control tag of Label Studio, a tier of ELAN, an attribute of VIA or a subject of
    BORIS; empty: all."""
    labels: LabelMode = "single"
    """One label for each segment, or any number of labels (multi: a column classes)."""
    points: Annotated[float, Ge(0)] = 0
    """Seconds around a label of a single frame that become a segment; 0: such labels are left out."""
    subset: str = "training"
    """Subset of the videos in a ground truth: training, validation or testing."""
