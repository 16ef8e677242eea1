"""ActionFormer and TriDet as tasks: loss, detections and their metrics."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinema.data.lists.video_names import same_video
from kinema.data.samples import Batch
from kinema.errors import UserError
from kinema.models.actionformer import SegmentLevel
from kinema.models.pyramid import LossNormalizer
from kinema.models.tridet import TridentLevel, expected_offsets
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import Process
from kinema.tasks.localization.detectors.data import DetectorData, DetectorSplit, PaddedFeatures, pad_features
from kinema.tasks.localization.detectors.decoding import DecodingOptions, Range, decode_levels
from kinema.tasks.localization.detectors.losses import DetectionLosses, DetectionLossOptions, detection_losses
from kinema.tasks.localization.detectors.nms import DetectionNmsOptions, suppress_detections
from kinema.tasks.localization.detectors.points import AssignmentOptions, PointTargets
from kinema.tasks.localization.detectors.windows import WindowDetector, merged_windows
from kinema.tasks.localization.exporting import read_features
from kinema.tasks.localization.localizer import LocalizerTaskOptions
from kinema.tasks.localization.metrics.annotations import Results
from kinema.tasks.localization.metrics.class_scores import label_proposals
from kinema.tasks.localization.metrics.detection import THRESHOLDS, average_precision
from kinema.tasks.localization.metrics.evaluation import Table, per_class_table, proposal_metrics
from kinema.tasks.localization.metrics.protocols import Protocol
from kinema.tasks.localization.metrics.results import Proposals, as_results
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.options import LocalizationConfig, LocalizerDescription
from kinema.tasks.localization.proposer import Proposer, load_network
from kinema.training.task import Loss, Task

if TYPE_CHECKING:
    from kinema.report.page.content import Metric, ReportedRun, Section

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class DetectorTaskOptions(LocalizerTaskOptions):
    """Options of a detector as a task; subclasses say how their networks' outputs become segments."""

    data_type: ClassVar[type] = DetectorData
    grid_offset: ClassVar[float] = 0.0

    assignment: AssignmentOptions = field(default_factory=AssignmentOptions)
    loss: DetectionLossOptions = field(default_factory=DetectionLossOptions)
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    nms: DetectionNmsOptions = field(default_factory=DetectionNmsOptions)
    protocol: Protocol = "activitynet"
    """How validation and tests match detections with instances, for the mAP by which the best model is chosen; see
    `kinema evaluate detection`. Papers on these detectors match as ActivityNet does on THUMOS14, too."""
    thresholds: tuple[Annotated[float, Interval(gt=0, le=1)], ...] = ()
    """Thresholds of tIoU; empty: those of the protocol."""

    def check(self, config: LocalizationConfig[Any]) -> None:
        """See `LocalizerOptions`."""
        data, levels = config.data, len(self.assignment.ranges) + 1
        network = config.model.num_levels
        if levels != network:
            raise UserError(f"--task.assignment.ranges bound {levels} levels, but the network has {network}")
        if data.parts > data.max_length:
            raise UserError(f"--data.parts {data.parts} is more than --data.max-length {data.max_length}")

    def open(self, config: LocalizationConfig[Any], process: Process) -> Task:
        """Open the videos of a training, for a network of as many classes as the ground truth has.

        Raises:
            UserError: see `open_localization`.
        """
        if config.data.ground_truth and config.model.num_classes != 1:
            found = len(config.data.class_names())
            if found != config.model.num_classes:
                log.info("%d classes, as the ground truth has (the recipe has %d)", found, config.model.num_classes)
                config = replace(config, model=replace(config.model, num_classes=found))
        return super().open(config, process)

    def forward(self, network: nn.Module, inputs: PaddedFeatures) -> Any:
        """See `LocalizerOptions`."""
        return network(inputs.features, inputs.mask)

    def training_loss(self, network: nn.Module, batch: Batch[Any]) -> Loss:
        """See `LocalizerOptions`."""
        levels = self.forward(network, batch.inputs)
        detector: Any = network.module if isinstance(network, DistributedDataParallel) else network
        losses = self._losses(levels, batch.inputs.mask, batch.targets, detector.normalizer)
        return Loss(losses.total, {"classification": losses.classification, "regression": losses.regression})

    def evaluation_loss(self, output: Any, batch: Batch[Any]) -> tuple[Tensor, Tensor]:
        """See `LocalizerOptions`; the weight is the number of positive points."""
        losses = self._losses(output, batch.inputs.mask, batch.targets.points, None)
        return losses.total * losses.positives.clamp(min=1), losses.positives.float()

    def _losses(
        self, levels: Any, mask: Tensor, targets: PointTargets, normalizer: LossNormalizer | None
    ) -> DetectionLosses:
        return detection_losses(
            levels, mask, targets, normalizer, self.loss, offsets_of=self.offsets_of, **self.loss_terms()
        )

    def offsets_of(self, level: Any, video: Tensor, point: Tensor, label: Tensor) -> Tensor:
        """Return distances (P, 2) to start and end by a level's output, at indices (P,) of videos, points, classes."""
        raise NotImplementedError

    def loss_terms(self) -> dict[str, Any]:
        """Return further arguments of `detection_losses`."""
        return {}

    def proposals(self, output: Any, batch: Batch[Any], split: DetectorSplit) -> Iterator[Proposals]:
        """See `LocalizerOptions`. Candidates of windows are in positions of the video's features."""
        rows, lengths, cuts = batch.rows.tolist(), batch.inputs.mask.sum(dim=1).tolist(), split.cuts
        if cuts is not None:
            found = decode_levels(output, list(map(cuts.points, rows)), self.decoding, offsets_of=self.offsets_of)
            for row, candidates in zip(rows, found, strict=True):
                yield replace(candidates, segments=candidates.segments + cuts.bounds[row, 0])
            return
        found = decode_levels(output, [(0, length) for length in lengths], self.decoding, offsets_of=self.offsets_of)
        for row, length, count, candidates in zip(rows, lengths, batch.targets.counts.tolist(), found, strict=True):
            yield self._detections(suppress_detections(candidates, self.nms), split, row, count, length)

    def merge(self, found: dict[int, Proposals], split: DetectorSplit) -> dict[int, Proposals]:
        """See `LocalizerOptions`."""
        if (cuts := split.cuts) is None:
            return found
        merged = merged_windows(found, cuts, lambda candidates: suppress_detections(candidates, self.nms))
        lengths = cuts.lengths.tolist()
        return {row: self._detections(kept, split, row, lengths[row], lengths[row]) for row, kept in merged.items()}

    def _detections(self, kept: Proposals, split: DetectorSplit, row: int, count: int, length: int) -> Proposals:
        """Return detections in seconds with their labels, from positions of `count` features brought to `length`."""
        return _labelled(replace(kept, segments=split.seconds(row, count, length, kept.segments)), split, row)

    def metrics(self, split: DetectorSplit, proposals: Mapping[int, Proposals]) -> dict[str, float]:
        """Measure mAP; of a network of one class for all, without class scores of the videos, AR and AUC."""
        if not split.classes:
            return proposal_metrics(split.videos.truth, as_results(proposals))
        means = self._average_precision(split, proposals).mean(axis=0)
        names = self.metric_names(split)[1:-1]
        return dict(zip(names, means.tolist(), strict=True)) | {"average_mAP": float(means.mean())}

    def metric_names(self, split: DetectorSplit) -> tuple[str, ...]:
        """See `LocalizerOptions`."""
        if not split.classes:
            return super().metric_names(split)
        return ("average_mAP", *(f"mAP@{threshold:g}" for threshold in self._thresholds), "loss")

    def per_class(self, split: DetectorSplit, proposals: Mapping[int, Proposals]) -> Table | None:
        """See `LocalizerOptions`."""
        if not split.classes:
            return None
        return per_class_table(split.videos.truth, self._average_precision(split, proposals), self._thresholds)

    @property
    def _thresholds(self) -> tuple[float, ...]:
        return self.thresholds or THRESHOLDS[self.protocol]

    def _average_precision(self, split: DetectorSplit, proposals: Mapping[int, Proposals]) -> Floats:
        """Return the average precision of each label of the ground truth at each threshold of tIoU."""
        truth = split.videos.truth
        number = {name: index for index, name in enumerate(truth.labels)}
        known = np.array([number.get(name, -1) for name in split.classes], np.int64)
        found = as_results(proposals)
        labels = [np.zeros(0, np.int64), *(one.labels for one in proposals.values() if one.labels is not None)]
        label = known[np.concatenate(labels)]
        kept = label >= 0
        results = Results(
            video=found.video[kept], label=label[kept], segments=found.segments[kept], scores=found.scores[kept]
        )
        return average_precision(truth, results, protocol=self.protocol, thresholds=self._thresholds)

    def summary(self, metrics: Mapping[str, float]) -> str:
        """See `LocalizerOptions`."""
        if isnan(metrics.get("average_mAP", float("nan"))):
            return super().summary(metrics)
        at_half = f", mAP@0.5 {metrics['mAP@0.5']:.4f}" if "mAP@0.5" in metrics else ""
        return f"loss {metrics['loss']:.4f}, average mAP {metrics['average_mAP']:.4f}{at_half}"

    def main_metrics(self) -> "Sequence[Metric]":
        """See `LocalizerTaskOptions`; a network of one class has recall only."""
        from kinema.tasks.localization.reporting import main_metrics

        return main_metrics(("average_mAP", "mAP@0.5", "AUC", "AR@100"), self.best_by)

    def report(self, tested: "ReportedRun") -> "Sequence[Section]":
        """See `LocalizerTaskOptions`."""
        from kinema.tasks.localization.reporting import describe

        return describe(tested, protocol=self.protocol)

    def export_inputs(self, description: LocalizerDescription) -> dict[str, Tensor]:
        """See `HasExport`: features of `max_length` points in time, some of them padding."""
        length, channels = description.data.max_length, description.model.feature_channels
        features = [torch.randn(channels, length), torch.randn(channels, max(1, length // 3))]
        return pad_features(features, length)._asdict()

    def read_inputs(self, path: str, description: LocalizerDescription) -> tuple[Tensor, ...]:
        """See `HasExport`; features longer than `max_length` are refused."""
        features = read_features(path, description)
        return tuple(pad_features([features], description.data.max_length))

    def export_scores(self, output: Any) -> Tensor:
        """Return the probabilities of the classes at the points of all levels, (N, K)."""
        return torch.cat([level.logits.sigmoid().flatten(1) for level in output], dim=1)

    def load_proposer(self, model: Path, description: LocalizerDescription, runtime: RuntimeOptions) -> Proposer:
        """See `LocalizerOptions`."""
        network, data, classes = load_network(model, runtime), description.data, description.classes

        def candidates(features: Tensor, points: Range) -> Proposals:
            levels = network(*pad_features([features], data.padded_length(features.shape[1])))
            (found,) = decode_levels(levels, [points], self.decoding, offsets_of=self.offsets_of)
            return found

        def suppress(found: Proposals) -> Proposals:
            kept = suppress_detections(found, self.nms)
            return replace(kept, labels=kept.labels if classes else None)

        def propose(features: Tensor) -> Proposals:
            length = features.shape[1]
            kept = suppress(candidates(features, (0, length)))
            return replace(kept, segments=(kept.segments + 0.5) / length)

        in_windows = None
        if data.windows:
            stride = 2 ** (description.model.num_levels - 1)  # type: ignore[attr-defined]
            in_windows = WindowDetector(options=data.windows, stride=stride, candidates=candidates, suppress=suppress)
        return Proposer(
            folders=(model,),
            data=data,
            channels=description.model.feature_channels,
            parts=data.parts or None,
            propose=propose,
            in_windows=in_windows,
            classes=classes,
        )


def _labelled(found: Proposals, split: DetectorSplit, row: int) -> Proposals:
    """Return detections with the labels of the network, of the videos' class scores, or of none."""
    if split.scores is None:
        return found if split.classes else replace(found, labels=None)
    name = same_video(split.videos.name(row), split.scores.scores)
    if name is None:
        return found[np.zeros(0, np.int64)]
    labelled = label_proposals(replace(found, labels=None), split.scores.scores[name], top=split.data.top_classes)
    return replace(labelled, scores=np.sqrt(labelled.scores.clip(min=0)))


@dataclass(kw_only=True)
class ActionFormerTask(DetectorTaskOptions):
    """Loss and detections of an ActionFormer."""

    name: ClassVar[str] = "actionformer"

    def offsets_of(self, level: SegmentLevel, video: Tensor, point: Tensor, label: Tensor) -> Tensor:  # noqa: ARG002
        """See `DetectorTaskOptions`."""
        return level.offsets[video, point]


@dataclass(kw_only=True)
class TriDetTask(DetectorTaskOptions):
    """Loss and detections of a TriDet."""

    name: ClassVar[str] = "tridet"

    overlap_power: Annotated[float, Ge(0)] = 0.2
    """The loss of the classes of positive points is weighted by this power of the tIoU of their segments; 0: 1."""

    def offsets_of(self, level: TridentLevel, video: Tensor, point: Tensor, label: Tensor) -> Tensor:
        """See `DetectorTaskOptions`."""
        return expected_offsets(level, video, point, label)

    def loss_terms(self) -> dict[str, Any]:
        """See `DetectorTaskOptions`."""
        return {"per_class": True, "overlap_power": self.overlap_power}
