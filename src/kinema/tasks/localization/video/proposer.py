"""A trained localizer, ready to propose segments of a video from its features."""

from pathlib import Path

import numpy as np
import torch

from kinema.errors import UserError
from kinema.models import Localizer
from kinema.runtime.device import RuntimeOptions, autocast, pick_device, place
from kinema.tasks.localization.data import FeatureData
from kinema.tasks.localization.description import load_localizer
from kinema.tasks.localization.generation.pgm import describe, generate
from kinema.tasks.localization.generation.postprocess import Proposals, bmn_proposals, bsn_proposals
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.options import BMNTask, PEMTask, TEMTask


class Proposer:
    """A BMN, or BSN's TEM and PEM together; a TEM alone judges its candidates by their boundaries.

    Attributes:
        data: where the features are that it was trained on, and how they are brought to its number of parts.
        channels: features that it takes at each point in time.
    """

    def __init__(self, model: Path, runtime: RuntimeOptions) -> None:
        """Load a run folder, a checkpoint folder, a `model.safetensors`, or the folder of a run of BSN's three stages.

        Raises:
            UserError: there is no localizer, or a PEM without its TEM, or the files are damaged.
        """
        self._runtime, self._device = runtime, pick_device(runtime)
        of_bsn = (model / "pem").is_dir()
        first, described = load_localizer(model / "tem" if of_bsn else model)
        self._first, self._task = place(first, self._device, runtime), described.task
        if not isinstance(described.data, FeatureData):
            raise UserError(
                f"{model} is BSN's last stage alone, which reads no features: name the folder that holds its run and "
                "that of its TEM (tem/ and pem/, as a bsn recipe leaves them)"
            )
        self.data, self.channels = described.data, described.model.feature_channels
        self._pem: Localizer | None = None
        self._pem_task = PEMTask()
        if of_bsn:
            pem, judged = load_localizer(model / "pem")
            self._pem = place(pem, self._device, runtime)
            if isinstance(judged.task, PEMTask):
                self._pem_task = judged.task

    @torch.inference_mode()
    def propose(self, features: torch.Tensor) -> Proposals:
        """Segments as fractions of the video, best first, from features (C, T) with T the model's parts."""
        with autocast(self._device, self._runtime):
            output = [each[0].float().cpu().numpy() for each in self._first(features[None].to(self._device))]
            match self._task:
                case BMNTask():
                    confidence, start, end = output
                    return bmn_proposals(confidence, start, end, self._task.nms)
                case TEMTask():
                    action, start, end = output
                    return self._of_candidates(action, start, end, self._task)
                case _:
                    raise AssertionError("a PEM does not read features")

    def _of_candidates(self, action: Floats, start: Floats, end: Floats, task: TEMTask) -> Proposals:
        if self._pem is None:
            candidates = generate(start, end, task.generation)
            return bsn_proposals(candidates, np.ones(len(candidates.starts)), task.nms)
        options = self._pem_task.candidates
        candidates = generate(start, end, options.generation)
        described = describe(action, candidates.segments, options.description).astype(np.float32)
        judged = self._pem(torch.from_numpy(described).to(self._device)).float().cpu().numpy()
        return bsn_proposals(candidates, judged, self._pem_task.nms)
