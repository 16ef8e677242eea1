"""PEM, the proposal evaluation module of BSN (Lin et al., ECCV 2018), as a task: loss and proposals."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor

from kinema.data.samples import Batch
from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions
from kinema.tasks.localization.bsn.candidate_files import Origin, read_origin, write_origin
from kinema.tasks.localization.bsn.data import CandidateSplit, ProposalData
from kinema.tasks.localization.bsn.options import CandidateOptions
from kinema.tasks.localization.bsn.pgm import describe, generate, scored
from kinema.tasks.localization.description import read_localizer
from kinema.tasks.localization.localizer import LocalizerTaskOptions
from kinema.tasks.localization.losses import sampled_by_overlap
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.options import LocalizationConfig, LocalizerDescription, arrays
from kinema.tasks.localization.proposals import suppress
from kinema.tasks.localization.proposer import Proposer, load_network, proposer_of
from kinema.tasks.localization.soft_nms import SoftNmsOptions
from kinema.training.task import Loss
from kinema.weights.find import find_model


@dataclass(kw_only=True)
class PEMLossOptions:
    """Sampling of the proposals in PEM's loss."""

    high_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.6
    """tIoU above which all proposals are sampled."""
    low_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.2
    """tIoU that separates proposals of medium from those of low overlap."""
    middle_ratio: Annotated[float, Ge(0)] = 1.0
    """Proposals of tIoU in (low, high] to sample for each one above."""
    low_ratio: Annotated[float, Ge(0)] = 2.0
    """Proposals of tIoU in [0, low] to sample for each one above."""


@dataclass(kw_only=True)
class PEMTask(LocalizerTaskOptions):
    """Loss of a PEM, and suppression of the proposals that it evaluates."""

    name: ClassVar[str] = "pem"
    data_type: ClassVar[type] = ProposalData
    grid_offset: ClassVar[float] = 0.5

    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    """Generation of candidates, in training and in use."""
    loss: PEMLossOptions = field(default_factory=PEMLossOptions)
    nms: SoftNmsOptions = field(default_factory=lambda: SoftNmsOptions(alpha=0.75, low_threshold=0.65))

    def check(self, config: LocalizationConfig[Any]) -> None:
        """See `LocalizerOptions`."""
        if not (folder := config.data.proposals):
            raise UserError("no candidates: pass --data.proposals, the folder that `kinema prepare candidates` wrote")
        origin = read_origin(Path(folder))
        if origin is None:
            raise UserError(f"'{folder}' holds no candidates: `kinema prepare candidates` writes them")
        if origin.options != self.candidates:
            raise UserError(
                f"the candidates of '{folder}' have other options ({origin.options}) than --task.candidates says"
            )

    def compute_loss(self, output: Tensor, labels: Tensor) -> Loss:
        """See `LocalizerOptions`."""
        return Loss(pem_loss(output, labels, self.loss), {})

    def proposals(self, output: Tensor, batch: Batch[Any], split: CandidateSplit) -> Iterator[Proposals]:
        """See `LocalizerOptions`."""
        confidence, first = output.float().cpu().numpy(), 0
        for row in batch.rows.tolist():  # from the page cache: the loader has just read them
            described = split.read(row)
            last = first + len(described.starts)
            yield described.proposals(confidence[first:last], self.nms)
            first = last

    def write_sample(self, folder: Path, config: LocalizationConfig[Any], *, videos: int) -> None:
        """See `LocalizerTaskOptions`."""
        super().write_sample(folder, config, videos=videos)
        write_origin(folder / config.data.INPUTS, Origin(tem="", options=self.candidates))

    def load_proposer(self, model: Path, _description: LocalizerDescription, runtime: RuntimeOptions) -> Proposer:
        """See `LocalizerOptions`."""
        run = model.parent.parent if model.parent.name == "checkpoints" else model
        if not (run.parent / "tem").is_dir():
            raise UserError(
                f"{model} is BSN's last stage, which reads no features: pass the folder that holds its run and "
                "that of its TEM (tem/ and pem/, as a bsn recipe leaves them)"
            )
        tem = find_model(run.parent / "tem")
        described = read_localizer(tem)
        boundaries, evaluate = load_network(tem, runtime), load_network(model, runtime)

        def candidates(features: Tensor) -> Proposals:
            action, start, end = (each[0] for each in arrays(boundaries(features[None])))
            found = generate(start, end, self.candidates.generation)
            samples = describe(action, found.segments, self.candidates.description).astype(np.float32)
            (confidence,) = arrays([evaluate(torch.from_numpy(samples))])
            return scored(found, confidence)

        return proposer_of(candidates, self.suppress, folders=(tem, model), trained=described)

    def suppress(self, candidates: Proposals, windows: int = 1) -> Proposals:
        """See `LocalizerOptions`."""
        return suppress(candidates, self.nms, windows=windows)


def pem_loss(predicted: Tensor, overlap: Tensor, options: PEMLossOptions) -> Tensor:
    """Return the mean smooth L1 loss of the sampled proposals (Lin et al., 2018, arXiv:1806.02964, section 3.4).

    Args:
        predicted: (n,) tIoU that PEM predicts for the proposals of a batch.
        overlap: (n,) largest tIoU with an instance.
        options: sampling.
    """
    ratios = (options.middle_ratio, options.low_ratio)
    taken = sampled_by_overlap(overlap, high=options.high_overlap, low=options.low_overlap, ratios=ratios)
    losses = F.smooth_l1_loss(predicted, overlap, reduction="none")
    return (losses * taken).sum() / taken.sum().clamp(min=1)
