"""Options of video data: lists, source, reader, batches, clips and views."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Interval

from kinema.data.kinds import FLOW, Source
from kinema.data.views import TrainClip, Views
from kinema.storage import StorageOptions


@dataclass(kw_only=True)
class DataOptions:
    """Lists of videos, and how they are read and batched."""

    train: str = ""
    """Training videos, a path or URL: a folder of class folders, a CSV/TSV with columns path and label (or class, for
    names that may be numbers; start and end, in seconds, make rows segments of their videos), or a list file `path
    label` (videos, packed) or `folder frames label` (rawframes). With `task.labels` multi a list has any number of
    labels on a line, and a CSV a column labels with semicolons between them."""
    train_where: str = ""
    """Rows of a CSV to train on: conditions such as `fold!=0`, separated by commas."""
    val: str = ""
    """Validation videos, in the same forms."""
    val_where: str = ""
    """Rows of a CSV to validate on."""
    val_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the training videos that is held out for validation, instead of `val`."""
    folds: Literal[0] | Annotated[int, Ge(2)] = 0
    """Cross-validation: folds of the training videos, each of which is validated and tested on once, by a model that is
    trained on the others."""
    fold: Annotated[int, Ge(-1)] = -1
    """Train only the model that is validated on this fold, counted from 0; -1: one after the other."""
    fold_by: str = ""
    """Column of a CSV whose equal values stay together, in one of `folds` or one side of `val_fraction`; empty: the
    column `group`, if there is one."""
    fold_seed: Annotated[int, Ge(0)] = 0
    """Seed of the division into folds, or into training and validation videos."""
    root: str = ""
    """Folder that relative paths in list files start from; empty: the list file's own folder."""
    val_root: str = ""
    """The same for the validation list; empty: as `root`."""
    classes: str = ""
    """File that names the classes in the order of the labels: one name a line, lines of id,name, or JSON
    {"name": id}; empty: as the data names them."""
    source: Source = "video"
    """Video files; or for each video a folder of images, a packed file of them (`kinema prepare pack`), a folder of
    pairs of images with its optical flow in x and y, or a packed file of these."""
    template: str = "auto"
    """Names of images, such as `img_{:05}.jpg` or `flow_{axis}_{:05}.jpg`; auto: those of the folder, in natural
    order. Where a list counts the frames, no folder is listed with a template, nor where all are named alike."""
    start: Annotated[int, Ge(0)] | Literal["auto"] = "auto"
    """Number of the first frame in its name, for a template; auto: 0 where the first video has a frame 0, else 1."""
    reader: Literal["auto", "torchcodec", "pyav"] = "auto"
    """Video decoder; auto: PyAV, the quicker one on CPUs; pyav: the same, without reading MP4 files by their tables;
    torchcodec: where a file is ordinary. All give the same frames and pixels."""
    batch_size: Annotated[int, Ge(1)] = 8
    """Training videos in a batch of one process."""
    balanced: bool = False
    """Make all classes equally frequent in training: an epoch has as many videos as before, but repeats those of rare
    classes, and leaves out random ones of frequent classes. For videos with one label."""
    val_batch_size: Annotated[int, Ge(1)] = 8
    """Validation or test videos in a batch of one process; fewer where they have so many views that these would make
    more than 1024 frames."""
    workers: Annotated[int, Ge(0)] | Literal["auto"] = "auto"
    """Loader processes of each training process; auto: its share of the CPU cores, at most 16."""
    max_bad_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.01
    """A run stops when more than this fraction of its videos cannot be read (rounded up to whole videos)."""
    decode_timeout: Annotated[float, Ge(0)] = 60
    """Seconds that one video may take to be read and decoded, before it counts as one that cannot be; 0: any time."""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """Memcached servers and a local cache of URLs."""

    @property
    def divides(self) -> bool:
        """Whether the validation videos are a part of the training list."""
        return bool(self.folds or self.val_fraction) and not self.val

    @property
    def patience(self) -> float:
        """Seconds to wait for a storage that does not answer."""
        return self.storage.patience


@dataclass(kw_only=True)
class ClipData(DataOptions):
    """Lists of videos, and the clips and views that a model sees of them."""

    FORMERLY: ClassVar = {name: name for name in ("train_clip", "val_views", "test_views")}

    train_clip: TrainClip
    """Random clip of a training video."""
    val_views: Views
    """Views of a validation video."""
    test_views: Views
    """Views of a test video."""

    @property
    def channels(self) -> int:
        """Channels of a frame: 3 of RGB, 2 of optical flow."""
        return 2 if self.source in FLOW else 3
