"""Base class of the options of localizers: all that differs between one localizer and another."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kinema.data.samples import Batch
from kinema.models import LocalizerOptions as LocalizerNetwork
from kinema.runtime.device import RuntimeOptions
from kinema.tasks.localization.data.videos import Videos
from kinema.tasks.localization.data.windows import merge_all
from kinema.tasks.localization.metrics.evaluation import proposal_metrics
from kinema.tasks.localization.metrics.results import Proposals, as_results, in_seconds
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.proposer import Proposer, load_network, proposer_of
from kinema.training.config import T, TrainConfig
from kinema.training.task import Loss
from kinema.weights.model_files import Description


@dataclass(kw_only=True)
class LocalizerOptions:
    """Options of a localizer, and what it does by them; `LocalizerTaskOptions` makes it a task.

    A localizer has `compute_loss`, and, as features of whole videos or windows are its input, `labels`, `decode` and
    `suppress`. One with another input overrides `forward`, `proposals` and `load_proposer`, one that detects `metrics`,
    `metric_names` and `summary`.
    """

    FORMERLY: ClassVar[dict[str, str]] = {"training.multigrid": ""}
    name: ClassVar[str]
    data_type: ClassVar[type]
    grid_offset: ClassVar[float]
    """Start of a part of the video, where segments start and end, as a fraction of it."""

    best_by: str = "auto"
    """Metric of the validation by which the best model is chosen: the lowest `loss`, or the highest of another, such as
    `AUC`, `AR@100` or, of detectors, `average_mAP`, `mAP@0.5`; auto: AUC, of detectors average_mAP."""

    def check(self, config: "LocalizationConfig[Any]") -> None:
        """Check options against those of the network and the data.

        Raises:
            UserError: they contradict each other.
        """

    def forward(self, network: nn.Module, inputs: Any) -> Any:
        """Return the output of the network, or of its DDP wrapper, for the inputs of a batch."""
        return network(inputs)

    def training_loss(self, network: nn.Module, batch: Batch[Any]) -> Loss:
        """Return the loss of a batch, and its parts; `network` is the network or its DDP wrapper."""
        return self.compute_loss(self.forward(network, batch.inputs), batch.targets)

    def compute_loss(self, output: Any, labels: Any) -> Loss:
        """Return the loss of the network's output for a batch, and its parts."""
        raise NotImplementedError

    def evaluation_loss(self, output: Any, batch: Batch[Any]) -> tuple[Tensor, Tensor]:
        """Return the loss of the network's output for a batch of validation or test videos, times its weight in their
        mean, and this weight (both scalars).

        A loss that balances the points of a batch depends on which videos are in it.
        """
        weight = torch.tensor(float(len(batch)))
        loss = self.compute_loss(output, batch.targets).total
        return loss * weight.to(loss.device), weight.to(loss.device)

    def labels(self, videos: Videos, rows: Sequence[int], parts: int) -> tuple[Tensor, ...]:
        """Return the labels of the videos of a batch, at `parts` points in time."""
        raise NotImplementedError

    def decode(self, output: Any) -> Iterable[Proposals]:
        """Return the candidates of each video of a batch, before suppression, as fractions of what its features cover.

        Of windows, they are fractions of a window.
        """
        raise NotImplementedError

    def suppress(self, candidates: Proposals, windows: int = 1) -> Proposals:
        """Return the best of a video's candidates, best first; times of several `windows` are fractions of one."""
        raise NotImplementedError

    def proposals(self, output: Any, batch: Batch[Any], split: Any) -> Iterator[Proposals]:
        """Yield the proposals, in seconds, of each video of a batch of an `OpenSplit` of the task's data.

        Of windows, these are candidates for `merge`.
        """
        for row, candidates in zip(batch.rows.tolist(), self.decode(output), strict=True):
            found = candidates if split.windows else self.suppress(candidates)
            yield in_seconds(found, split.inputs.spans[row])

    def merge(self, found: dict[int, Proposals], split: Any) -> dict[int, Proposals]:
        """Return the proposals of the videos of an `OpenSplit` from what `proposals` found, both by row, in seconds."""
        if split.windows is None:
            return found
        return merge_all(found, split.windows, tolerance=1 / split.data.parts, suppress=self.suppress)

    def metrics(self, split: Any, proposals: Mapping[int, Proposals]) -> dict[str, float]:
        """Measure proposals, in seconds, of the videos of an `OpenSplit`, by their rows in its ground truth."""
        return proposal_metrics(split.videos.truth, as_results(proposals))

    def metric_names(self, split: Any) -> tuple[str, ...]:  # noqa: ARG002
        """Return the metrics of an `OpenSplit` by which a model may be chosen, the usual one first."""
        return ("AUC", "AR@1", "AR@5", "AR@10", "AR@100", "loss")

    def per_class(self, split: Any, proposals: Mapping[int, Proposals]) -> list[list[Any]] | None:  # noqa: ARG002
        """Return a table of the metrics of each class; None, the default: there are no classes."""
        return None

    def summary(self, metrics: Mapping[str, float]) -> str:
        """Return the metrics that people look for, in a few words."""
        return f"loss {metrics['loss']:.4f}, AR@100 {metrics['AR@100']:.4f}, AUC {metrics['AUC']:.4f}"

    def load_proposer(self, model: Path, description: "LocalizerDescription", runtime: RuntimeOptions) -> Proposer:
        """Load the model in the folder `model` to propose segments of raw videos from their features.

        Raises:
            UserError: its files are damaged, or the model of another stage that it needs is missing.
        """
        network = load_network(model, runtime)

        def candidates(features: Tensor) -> Proposals:
            (found,) = self.decode(network(features[None]))
            return found

        return proposer_of(candidates, self.suppress, folders=(model,), trained=description)


def arrays(output: Iterable[Tensor]) -> tuple[Floats, ...]:
    """Return the outputs of a network as float32 on the CPU."""
    return tuple(tensor.float().cpu().numpy() for tensor in output)


LocalizationConfig = TrainConfig[T, Any, Any]
LocalizerDescription = Description[LocalizerOptions, LocalizerNetwork, Any]
