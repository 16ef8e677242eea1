"""Protocols of a task: its options, its training and its predictor."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, overload, runtime_checkable

from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema.data.readers.memory import FrameArray, VideoInput
from kinema.data.readers.reader import FrameReader
from kinema.data.samples import BadFile
from kinema.data.timetable import Phase, Timetable
from kinema.errors import MediaError
from kinema.prediction import Prediction, WindowPrediction
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import Process
from kinema.training.config import AnyConfig
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule, StretchSchedule
from kinema.weights.model_files import AnyDescription

T = TypeVar("T")
D = TypeVar("D")


@dataclass(kw_only=True)
class EvaluationOptions(Generic[T, D]):
    """Options of a test."""

    data: D
    task: T
    runtime: RuntimeOptions


@dataclass(frozen=True, kw_only=True)
class EvaluationOutputs:
    """Output files of a test."""

    folder: Path
    """Folder for `metrics.json`, `data.json` and the task's further files."""
    dump: Path | None = None
    """npz file for the scores of all videos."""
    font: Path | None = None
    """Font file for class names that DejaVu Sans lacks glyphs for."""


class Predictor(Protocol):
    """A trained model for inference."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names."""

    @property
    def folder(self) -> Path:
        """Folder of the model files."""

    @overload
    def predict(self, video: VideoInput, *, top: int = 5) -> list[Prediction]: ...  # type: ignore[overload-overlap]

    @overload
    def predict(
        self, video: Sequence[VideoInput], *, top: int = 5, progress: bool = False
    ) -> list[list[Prediction]]: ...

    def predict(
        self, video: VideoInput | Sequence[VideoInput], *, top: int = 5, progress: bool = False
    ) -> list[Prediction] | list[list[Prediction]]:
        """Return the `top` best predictions for a video, best first; of a list of videos a list for each.

        Raises:
            MediaError: the video cannot be read.
            UserError: an array is no video.
        """

    @overload
    def embed(self, video: VideoInput) -> Tensor: ...

    @overload
    def embed(self, video: Sequence[VideoInput], *, progress: bool = False) -> Tensor: ...

    def embed(self, video: VideoInput | Sequence[VideoInput], *, progress: bool = False) -> Tensor:
        """Return features (F,) of a video, (N, F) of a list of videos.

        Raises:
            MediaError: a video cannot be read.
            UserError: the network has no features, or an array is no video.
        """

    def stream(
        self,
        frames: VideoInput | Iterable[FrameArray],
        *,
        every: float = 1.0,
        window: float = 2.0,
        views: Literal["val", "test"] = "val",
        fps: float = 0.0,
        top: int = 5,
        min_score: float = 0.0,
        live: bool = False,
        timeout: float = 10.0,
        patience: float = 600.0,
    ) -> Generator[WindowPrediction]:
        """Yield the most probable classes of windows along a video or a live stream, in order, as they are known.

        The answers are those of `kinema predict --every`. Frames are decoded once, by a thread, and no more of them
        kept than a few windows need. Windows of a video are computed in batches, those of an iterable of frames one by
        one. Of a live stream, windows that are complete while the network computes, or while the caller does something
        else, are dropped but for the newest; those of a pipe are not, it waits. Closing the iterator ends the stream.

        Args:
            frames: a video as `predict` takes it, of which not more is in memory than is needed; an iterable of frames
                (H, W, 3) uint8 RGB; or a live stream: `rtsp://…`, a URL of HLS or MJPEG, `/dev/video0` (untested), `-`
                for standard input, or a binary file object that cannot seek, such as a pipe.
            every: seconds from the start of a window to the start of the next one.
            window: seconds of a window.
            views: clips and crops of a window: those of a validation or of a test video.
            fps: frames per second of an iterable, an array or a folder of images, which do not say it.
            top: number of classes.
            min_score: leave out classes of a lower score; if none is left, the prediction is `NONE_OF_THESE`.
            live: whether any `http(s)://` URL is that of a live stream.
            timeout: of a live stream: seconds without data or a picture after which a connection counts as interrupted.
            patience: seconds for which an interrupted stream is tried again; 0: not at all.

        Raises:
            MediaError: the video cannot be read, or the address of a stream is wrong.
            StorageOutage: a server does not answer, or a stream was interrupted for longer than `patience`.
            UserError: `fps` is missing, or a frame has another dtype or shape.
        """

    def open(self, video: VideoInput) -> FrameReader:
        """Open the frames of a video.

        Raises:
            MediaError: it cannot be opened.
        """


@runtime_checkable
class PredictsEach(Protocol):
    """A predictor that reads the next videos while it computes the answer to one."""

    def predict_each(self, videos: Iterable[VideoInput], *, top: int = 5) -> Generator[list[Prediction] | MediaError]:
        """Yield the `top` best predictions of each video in turn, or why it cannot be read.

        Raises:
            StorageOutage: a storage did not answer for a minute.
            UserError: an array is no video, or the scores are not finite.
        """


class TaskOptions(Protocol):
    """Dataclass of a task's options, which opens its training and loads its models."""

    name: ClassVar[str]
    """Name in `kinema.tasks.TASKS`; tasks defined elsewhere have none and are named by the address of their class."""
    data_type: ClassVar[type]
    """Dataclass of the data options."""

    def open(self, config: AnyConfig, process: Process) -> "Task":
        """Open the data of a training.

        Raises:
            UserError: the data are unusable, or options contradict each other.
        """

    def input_shape(self, config: AnyConfig) -> tuple[int, ...]:
        """Return the shape of one input of the network, without the batch."""

    def test_options(self, description: AnyDescription) -> EvaluationOptions[Any, Any]:
        """Return the default options of a test of a model."""

    def test(
        self,
        model: Path,
        description: AnyDescription,
        options: EvaluationOptions[Any, Any],
        outputs: EvaluationOutputs,
    ) -> dict[str, float]:
        """Test the model in the folder `model` on its validation data; write and return the metrics.

        Raises:
            UserError: the data cannot be used, or the results cannot be written.
        """

    def load(self, model: Path, description: AnyDescription, runtime: RuntimeOptions) -> Predictor:
        """Load the predictor of the model in the folder `model`.

        Raises:
            UserError: its files are damaged, or the task has no predictor.
        """


@runtime_checkable
class HasProposer(Protocol):
    """Options of a task whose models propose segments of raw videos from their features."""

    def load_proposer(self, model: Path, description: AnyDescription, runtime: RuntimeOptions) -> Any:
        """Load the model in the folder `model`; see `kinema.tasks.localization.proposer.Proposer`.

        Raises:
            UserError: its files are damaged, or the model of another stage that it needs is missing.
        """


@runtime_checkable
class HasSampleData(Protocol):
    """Options of a task that can generate data to measure its training on."""

    def write_sample(self, folder: Path, config: AnyConfig, *, videos: int) -> None:
        """Write random data of `videos` videos to `folder`."""

    def sample_options(self, folder: Path, config: AnyConfig) -> dict[str, object]:
        """Return the options that select the data in `folder`, by dotted key."""


@runtime_checkable
class HasPreparation(Protocol):
    """A task whose batches need its model, such as features of a frozen encoder."""

    def prepare(self, model: nn.Module, check_stop: Callable[[], None]) -> None:
        """Prepare the data of `train_batches` and `val_batches` with the model as it begins or is resumed.

        Raises:
            InterruptedRun: raised by `check_stop`, which is called between parts of the work.
        """


@runtime_checkable
class HasCalibration(Protocol):
    """Options of a task whose models give probabilities, which can be calibrated."""

    def calibrate(
        self, model: Path, description: AnyDescription, options: EvaluationOptions[Any, Any]
    ) -> dict[str, float]:
        """Fit the temperature of the model in the folder `model` on its validation data and store it there.

        Returns:
            `temperature`, `nll_before`, `nll_after`, `ece_before`, `ece_after`, and counts.

        Raises:
            UserError: the data cannot be used, or the model cannot be written.
        """


class Criterion(NamedTuple):
    """Validation metric that selects the best model. lower: whether lower values are better."""

    metric: str
    lower: bool = False

    def score(self, metrics: Mapping[str, float]) -> float:
        """Return the metric, or its negative if lower values are better: larger is better. NaN if it is undefined."""
        value = float(metrics.get(self.metric, math.nan))
        return -value if self.lower else value

    def value(self, score: float) -> float:
        """Return the metric of a score."""
        return -score if self.lower else score


@runtime_checkable
class HasExport(Protocol):
    """Options of a task whose networks can be exported, to files that are used without Kinema."""

    def export_inputs(self, description: AnyDescription) -> dict[str, Tensor]:
        """Return random inputs of the network by name, each a batch of two."""

    def export_metadata(self, description: AnyDescription) -> dict[str, Any]:
        """Return what a program must know to compute the inputs and to read the outputs, as JSON values."""

    def export_script(self, file: Path, description: AnyDescription) -> str:
        """Return a short Python program that runs the exported file by onnxruntime and numpy."""

    def read_inputs(self, path: str, description: AnyDescription) -> tuple[Tensor, ...]:
        """Return inputs of the network, a batch each, from a file that a user names.

        Raises:
            MediaError: it cannot be read.
            UserError: it does not fit the network.
        """

    def export_scores(self, output: Any) -> Tensor:
        """Return the scores (N, K) in the output of the network, by which exported files are checked."""


@runtime_checkable
class HasQuantization(HasExport, Protocol):
    """Options of a task whose exported networks can be quantized."""

    def calibration_inputs(self, data: str, description: AnyDescription, *, count: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield inputs of the network from `count` samples of `data`, a path or list as the task takes them.

        Raises:
            UserError: the data cannot be used.
        """

    def test_data(self, data: str, description: AnyDescription) -> EvaluationOptions[Any, Any]:
        """Return the options of a test on `data`; empty: on the model's own validation data.

        Raises:
            UserError: the model has none.
        """


class Loss(NamedTuple):
    """Loss of a batch. total: scalar to minimize; figures: further scalars for `metrics.jsonl`."""

    total: Tensor
    figures: dict[str, Tensor]


class Validation(NamedTuple):
    """Validation results of all processes.

    metrics: a row of `metrics.jsonl`.
    bad: files that cannot be read.
    pictures: pictures to look at by name, (H, W, 3) uint8, in the main process.
    """

    metrics: dict[str, float]
    bad: list[BadFile]
    pictures: Mapping[str, Tensor] = MappingProxyType({})


class Task(Protocol):
    """Data, model, loss and metrics of a training run.

    Batches have a length, a list `bad` of bad files and `to(device)`; the rest of their contents is up to the task.
    """

    @property
    def description(self) -> AnyDescription:
        """Contents of the checkpoints' `model.json`."""

    @property
    def num_train(self) -> int:
        """Number of training videos."""

    @property
    def num_val(self) -> int:
        """Number of validation videos; 0 without validation."""

    @property
    def phases(self) -> Sequence[Phase]:
        """Phases of epochs with the same batch shapes."""

    @property
    def schedule(self) -> StepSchedule | CosineSchedule | StretchSchedule:
        """Learning-rate schedule over these epochs."""

    @property
    def reads(self) -> str:
        """Reader of the data, for the log."""

    def empty_model(self) -> nn.Module:
        """Return the model with random weights, determined by the seed."""

    def first_model(self) -> nn.Module:
        """Return the model with the initial weights of a new run.

        Raises:
            UserError: they are unavailable, or of another architecture.
        """

    def train_batches(self, timetable: Timetable, *, first_step: int) -> DataLoader[Any]:
        """Return this process's training batches, starting at step `first_step`."""

    def statistics_batches(self, timetable: Timetable) -> DataLoader[Any]:
        """Return training batches for precise batch norm, the same in every call, shaped as in the last phase."""

    def val_batches(self) -> DataLoader[Any]:
        """Return this process's validation batches."""

    def inputs(self, batch: Any) -> Tensor:
        """Return the model's input in a batch."""

    def loss(self, network: nn.Module, batch: Any) -> Loss:
        """Return the loss of a batch; `network` is the model or its DDP wrapper."""

    def validate(self, model: nn.Module, batches: DataLoader[Any]) -> Validation:
        """Evaluate the model on `val_batches`, leaving it in eval mode."""

    @property
    def criterion(self) -> Criterion:
        """Metric of `validate` that selects the best model."""

    def summary(self, metrics: Mapping[str, float]) -> str:
        """Return the main metrics as text, for the log."""
