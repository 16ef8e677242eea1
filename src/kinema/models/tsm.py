"""TSM: Temporal Shift Module (Lin et al., 2019, arXiv:1811.08383)."""

import re
from dataclasses import dataclass, replace

from torch import Tensor

from kinema.models.foreign import Configured, Foreign, Source, ToolConfig
from kinema.models.image_backbone import ImageBackbone
from kinema.models.resnet import ResNetOptions
from kinema.models.resnet_names import MMACTION2, TORCHVISION, by_rules, mmaction2_backbone
from kinema.models.resnet_names import TSM as TSM_NAMES
from kinema.models.temporal_shift import TemporalShift
from kinema.models.tsn import SegmentRecognizer


@dataclass(kw_only=True)
class TSMOptions(ResNetOptions):
    """Options of TSM."""

    init_std: float = 0.001
    """Standard deviation of the head's initial weights."""
    shift_div: int = 8
    """1/shift_div of the channels are taken from the next frame, as many from the previous one."""

    def build(self) -> "TSM":
        """Return a TSM with random weights."""
        return TSM(self)

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """See `ForeignOptions`."""
        return () if source in ("torchvision", "timm") else ("shift_div",)

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`. The TSM repository's configuration is the file's name, as its own test reads it:
        `TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth`.
        """
        if source == "tsm" and (shift := re.search(r"_shift(\d+)_([a-z]+)_", config.get("path", ""))):
            if shift[2] != "blockres":
                config.faults.append(f"shift_place {shift[2]}")
            segments = re.search(r"_segment(\d+)_", config.get("path"))
            dense = "_dense" in config.get("path")  # clips of so many frames
            count = int(segments[1]) if segments and not dense else None
            return Configured(options={"shift_div": int(shift[1])}, clips=False, segments=count)
        found = mmaction2_backbone(
            config, "Recognizer2D", "ResNetTSM", is_shift=True, shift_place="blockres", temporal_pool=False
        )
        if found is None:
            return None
        shift_div, segments = found.get("shift_div", 8), found.get("num_segments", 8)
        return Configured(options={"shift_div": shift_div}, clips=False, segments=segments)


class TSM(SegmentRecognizer):
    """Averages the logits of T frames, whose features are shifted between neighbors in the residual branches.

    Every residual block shifts; in ResNet-101 and -152 every second one, as in the authors' models.
    """

    def __init__(self, options: TSMOptions) -> None:
        super().__init__(options)
        if isinstance(self.backbone, ImageBackbone):
            self.backbone.shift_features(options.shift_div)
            return
        step = 2 if options.depth in (101, 152) else 1
        for stage in self.backbone.stages:
            for block in stage[::step]:
                block.shift = TemporalShift(options.shift_div)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips as TSN takes them → logits `(N, num_classes)`."""
        logits: Tensor = self.fc(self.dropout(self._frame_features(clips)))
        return logits.view(clips.shape[0], -1, logits.shape[1]).mean(dim=1)

    def forward_features(self, clips: Tensor) -> Tensor:
        """Clips → features `(N, F)`, averaged over space and frames."""
        return self._frame_features(clips).unflatten(0, (clips.shape[0], -1)).mean(dim=1)

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2 and the TSM repository, whose shift wraps a convolution, in torchvision and in timm."""
        if isinstance(self.backbone, ImageBackbone):
            return self.backbone.foreign(source)
        foreign = by_rules(self, source, {"mmaction2": MMACTION2, "tsm": TSM_NAMES, "torchvision": TORCHVISION})
        if foreign is None or source == "torchvision":
            return foreign
        shifting = {f"{path}.conv1" for path, block in self.named_modules() if getattr(block, "shift", None)}
        wrapped = {
            key: re.sub(r"(\.\w+)$", r".net\1", name)
            for key, name in foreign.names.items()
            if key.rpartition(".")[0] in shifting
        }
        return replace(foreign, names={**foreign.names, **wrapped})

    def _frame_features(self, clips: Tensor) -> Tensor:
        frames = self.segments(clips)
        features: Tensor = self.backbone(frames, frames.shape[0] // clips.shape[0]).mean(dim=(2, 3))
        return features
