"""A task that Kinema does not have, with a network and a recipe of its own: a number for each clip.

Everything is here. `kinema train clip_regression.py:brightness --data.train train.csv --data.val val.csv` trains it.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema import strict_json
from kinema.data.loader import EvalBatches, load
from kinema.data.readers.sources import open_video
from kinema.data.samples import Batch, Sample, SampleDataset, SampleKey
from kinema.data.sampling import Sampling, sample_test, sample_train
from kinema.data.timetable import Phase, Timetable
from kinema.errors import UserError
from kinema.prediction import Prediction
from kinema.runtime.device import RuntimeOptions, autocast, pick_device, to_device
from kinema.runtime.processes import Process, process_group
from kinema.training import AdamW, CosineSchedule, TrainConfig, TrainingOptions
from kinema.training.order import train_order
from kinema.training.task import Criterion, EvaluationOptions, EvaluationOutputs, Loss, Validation
from kinema.weights.model_files import AnyDescription, load_weights


@dataclass(kw_only=True)
class NumberNetOptions:
    """A 3D convolution, its mean over time and space, and a linear layer."""

    width: int = 8
    """Channels."""

    def build(self) -> nn.Module:
        """Return the network with random weights."""
        return NumberNet(self.width)


class NumberNet(nn.Module):
    """(N, 3, T, H, W) uint8 → (N,) numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, width, 3, stride=2)
        self.head = nn.Linear(width, 1)

    def forward(self, clips: Tensor) -> Tensor:
        """Return a number for each clip."""
        return self.head(self.conv(clips / 255).relu().mean(dim=(2, 3, 4))).squeeze(1)


@dataclass(kw_only=True)
class NumberData:
    """CSV files with columns path and value."""

    train: str = ""
    """Training videos."""
    val: str = ""
    """Validation videos."""
    sampling: Sampling = field(default_factory=lambda: Sampling(clip_len=4))
    batch_size: int = 4
    """Videos of a batch."""
    workers: int | Literal["auto"] = 0
    """Loader processes."""
    max_bad_fraction: float = 0.0
    """A run stops when more than this fraction of its videos cannot be read."""

    @property
    def patience(self) -> float:
        """Seconds to wait for a storage."""
        return 0.0

    def rows(self, listing: str) -> list[tuple[str, float]]:
        """Read a list."""
        if not listing:
            raise UserError("no videos: pass --data.train, a CSV file with columns path and value")
        with Path(listing).open(newline="") as file:
            return [(row["path"], float(row["value"])) for row in csv.DictReader(file)]


class NumberDataset(SampleDataset[float, Tensor]):
    """Clips of the listed videos, and their numbers; the clips are random if there is a seed."""

    def __init__(self, rows: Sequence[tuple[str, float]], sampling: Sampling, *, seed: int | None = None) -> None:
        super().__init__(len(rows), seed=seed or 0)
        self.rows, self.sampling, self.random = rows, sampling, seed is not None

    def read(self, key: SampleKey, rng: np.random.Generator, _out: Tensor | None, /) -> Sample[float]:
        """Read a clip and its number."""
        path, value = self.rows[key.row]
        return Sample(clip_of(path, self.sampling, rng if self.random else None), value)


def clip_of(path: str, sampling: Sampling, rng: np.random.Generator | None = None) -> Tensor:
    """Return a clip, (3, T, H, W) uint8."""
    video = open_video(path, path=path)
    frames = sample_test(sampling, len(video)) if rng is None else sample_train(sampling, len(video), rng)
    return video.frames(frames.ravel().tolist()).permute(3, 0, 1, 2)


@dataclass(kw_only=True)
class NumberTask:
    """Regression of a number by the mean squared error."""

    data_type: ClassVar[type] = NumberData

    scale: float = 1.0
    """Factor of the loss."""

    def open(self, config: TrainConfig, process: Process) -> "NumberTraining":
        """Open the lists."""
        data = config.data
        return NumberTraining(config, process, data.rows(data.train), data.rows(data.val) if data.val else [])

    def input_shape(self, config: TrainConfig) -> tuple[int, ...]:
        """Return C, T, H and W."""
        return (3, config.data.sampling.frames, 64, 64)

    def test_options(self, description: AnyDescription) -> EvaluationOptions:
        """Return the options of a test."""
        return EvaluationOptions(data=description.data, task=description.task, runtime=RuntimeOptions())

    def test(
        self, model: Path, description: AnyDescription, options: EvaluationOptions, outputs: EvaluationOutputs
    ) -> dict[str, float]:
        """Write the mean absolute error."""
        data = options.data
        with process_group(options.runtime) as process:
            network = description.model.build()
            load_weights(network, model)
            network.to(process.device)
            metrics = mean_absolute_error(network, batches_of(data.rows(data.val), data), process.device)
            outputs.folder.mkdir(parents=True, exist_ok=True)
            (outputs.folder / "metrics.json").write_text(strict_json.dumps(metrics))
            return metrics

    def load(self, model: Path, description: AnyDescription, runtime: RuntimeOptions) -> "NumberPredictor":
        """Load a model."""
        return NumberPredictor(model, description, runtime)


@dataclass
class NumberTraining:
    """See `kinema.training.task.Task`."""

    config: TrainConfig
    process: Process
    train: list[tuple[str, float]]
    val: list[tuple[str, float]]
    reads: str = "clips and their numbers"

    @property
    def description(self) -> AnyDescription:
        """Contents of model.json."""
        return self.config.describe()

    @property
    def num_train(self) -> int:
        """Videos of an epoch."""
        return len(self.train)

    @property
    def num_val(self) -> int:
        """Videos of a validation."""
        return len(self.val)

    @property
    def phases(self) -> list[Phase]:
        """Epochs, all alike."""
        return [Phase(epochs=self.config.schedule.epochs)]

    @property
    def schedule(self) -> CosineSchedule:
        """Learning rate."""
        return self.config.schedule

    def empty_model(self) -> nn.Module:
        """Return the network with random weights."""
        torch.manual_seed(self.config.training.seed)
        return self.config.model.build()

    def first_model(self) -> nn.Module:
        """Start from random weights."""
        return self.empty_model()

    def train_batches(self, timetable: Timetable, *, first_step: int) -> DataLoader:
        """Return the training batches from a step on."""
        order = train_order(self.config, self.num_train, timetable, self.process, first_step=first_step)
        dataset = NumberDataset(self.train, self.config.data.sampling, seed=self.config.training.seed)
        return load(dataset, order, workers=int(self.config.data.workers))

    def statistics_batches(self, timetable: Timetable) -> DataLoader:
        """Return the same batches always."""
        return self.train_batches(timetable, first_step=0)

    def val_batches(self) -> DataLoader:
        """Return this process's validation batches."""
        return batches_of(self.val, self.config.data, rank=self.process.rank, world=self.process.world)

    def inputs(self, batch: Batch[Tensor]) -> Tensor:
        """Return the network's input."""
        return batch.inputs

    def loss(self, network: nn.Module, batch: Batch[Tensor]) -> Loss:
        """Return the mean squared error."""
        return Loss(self.config.task.scale * F.mse_loss(network(batch.inputs).float(), batch.targets), {})

    def validate(self, model: nn.Module, batches: DataLoader) -> Validation:
        """Measure the mean absolute error."""
        return Validation(mean_absolute_error(model.eval(), batches, self.process.device), [])

    @property
    def criterion(self) -> Criterion:
        """Smaller errors are better."""
        return Criterion("mae", lower=True)

    def summary(self, metrics: Mapping[str, float]) -> str:
        """Return the metric in words."""
        return f"mean absolute error {metrics['mae']:.4f}"


def batches_of(rows: Sequence[tuple[str, float]], data: NumberData, *, rank: int = 0, world: int = 1) -> DataLoader:
    """Return every video once."""
    dataset = NumberDataset(rows, data.sampling)
    return load(dataset, EvalBatches(len(rows), data.batch_size, rank=rank, world=world), workers=0)


def mean_absolute_error(model: nn.Module, batches: DataLoader, device: torch.device) -> dict[str, float]:
    """Return the mean absolute error over the batches."""
    with torch.inference_mode():
        errors = [(model(batch.inputs.to(device)) - batch.targets.to(device)).abs() for batch in batches]
    return {"mae": float(torch.cat(errors).mean()), "videos": sum(map(len, errors))}


class NumberPredictor:
    """A trained model in use."""

    classes = ("value",)

    def __init__(self, folder: Path, description: AnyDescription, runtime: RuntimeOptions) -> None:
        self.folder, self.description, self.runtime = folder, description, runtime
        self.device = pick_device(runtime)
        self.model = description.model.build()
        load_weights(self.model, folder)
        to_device(self.model, self.device, runtime)

    def open(self, video: str | Path) -> Any:
        """Open the frames of a video."""
        return open_video(str(video), path=str(video))

    @torch.inference_mode()
    def predict(self, video: str | Path, *, top: int = 5) -> list[Prediction]:
        """Return the number."""
        clip = clip_of(str(video), self.description.data.sampling)[None].to(self.device)
        with autocast(self.device, self.runtime):
            return [Prediction("value", float(self.model(clip)))][:top]


def brightness() -> TrainConfig:
    """The recipe."""
    return TrainConfig(
        model=NumberNetOptions(),
        task=NumberTask(),
        data=NumberData(),
        optim=AdamW(lr=0.02, lr_batch=0),
        schedule=CosineSchedule(epochs=4),
        training=TrainingOptions(log_every=1),
    )
