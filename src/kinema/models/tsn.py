"""TSN: Temporal Segment Networks (Wang et al., 2016, arXiv:1608.00859)."""

from dataclasses import dataclass, replace

from torch import Tensor

from kinema.models.foreign import Configured, Foreign, Source, ToolConfig
from kinema.models.image_backbone import ImageBackbone
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, Recognizer, fold_time
from kinema.models.resnet import ResNet, ResNetOptions
from kinema.models.resnet_names import MMACTION2, TORCHVISION, TSM, by_rules, mmaction2_backbone

FLOW_SCALE = (128.0, 128.0)
"""Mean, and standard deviation, by which flow in x and y is normalized, as TSN does; 128 is no motion."""


@dataclass(kw_only=True)
class TSNOptions(ResNetOptions):
    """Options of TSN."""

    dropout: float = 0.4
    """Dropout probability of the features before the head, 0–1."""

    def build(self) -> "TSN":
        """Return a TSN with random weights."""
        return TSN(self)

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        found = mmaction2_backbone(config, "Recognizer2D", "ResNet") if source == "mmaction2" else None
        return None if found is None else Configured(clips=False)


class SegmentRecognizer(Recognizer):
    """A 2D network on segments of a video, each one RGB frame or a few flow fields."""

    backbone: ResNet | ImageBackbone

    def __init__(self, options: ResNetOptions) -> None:
        backbone = ImageBackbone(options) if options.backbone else ResNet(options)
        mean, std = (FLOW_SCALE, FLOW_SCALE) if options.flow_fields else (options.mean, options.std)
        if isinstance(backbone, ImageBackbone) and (mean, std) == (IMAGENET_MEAN, IMAGENET_STD):
            mean, std = backbone.traits.normalization
        super().__init__(options, backbone, mean=mean, std=std)
        if isinstance(backbone, ImageBackbone) and backbone.traits.size is not None:
            self.input = replace(self.input, size=backbone.traits.size[0])

    def segments(self, clips: Tensor) -> Tensor:
        """`(N, C, T, H, W)` → normalized input of the 2D network by segment, `(N·S, in_channels, H, W)`, clip by clip.

        A segment has `in_channels` / C frames, whose channels are concatenated by frame: x1, y1, x2, y2, … of flow.
        """
        together = self.backbone.in_channels // clips.shape[1]
        frames = fold_time(self.normalize(clips))
        return frames if together == 1 else frames.unflatten(0, (-1, together)).flatten(1, 2)


class TSN(SegmentRecognizer):
    """Classifies the average feature of a video's segments, which the backbone sees one by one."""

    def forward_features(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, S, H, W)`, S = segments, or `(N, 2, S · flow_fields, H, W)` → features `(N, F)`, averaged over
        space and segments.
        """
        features = self.backbone(self.segments(clips)).mean(dim=(2, 3))
        return features.unflatten(0, (len(clips), -1)).mean(dim=1)

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2, the TSM repository, torchvision's ResNets and timm."""
        if isinstance(self.backbone, ImageBackbone):
            return self.backbone.foreign(source)
        return by_rules(self, source, {"mmaction2": MMACTION2, "tsm": TSM, "torchvision": TORCHVISION})
