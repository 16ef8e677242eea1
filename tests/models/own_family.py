"""A family that Kinema does not have, with its recipe: the whole of what adding a network takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from kinema.models.backbone import Backbone, ConvNetOptions
from kinema.models.foreign import Configured, Foreign, ForeignOptions, Rules, Source, ToolConfig, of_tool, renamed
from kinema.models.recognizer import Recognizer, RecognizerOptions
from kinema.recipes.sample import tsm_r18_video_1x1x8_sample_rgb
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import TrainConfig

NAMES: Rules = ((r"^backbone\.stem", "trunk.stem"), (r"^backbone\.stage(\d)\.(\d)", r"trunk.\1.\2"), (r"^fc$", "top"))


@dataclass(kw_only=True)
class PlainOptions(RecognizerOptions, ConvNetOptions, ForeignOptions):
    """Options of a plain 3D network."""

    width: int = 8
    """Channels."""

    def build(self) -> "Plain":
        """Return the network with random weights."""
        return Plain(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        return of_tool(self, weights, source)

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        return Configured() if source == "pyslowfast" and config.get("MODEL.ARCH") == "plain" else None


class Plain(Recognizer):
    """Convolutions, each with ReLU."""

    def __init__(self, options: PlainOptions) -> None:
        super().__init__(options, PlainBackbone(options))

    def foreign(self, source: Source) -> Foreign | None:
        """Names in PySlowFast, if it had this network."""
        return Foreign(names=renamed(self, NAMES)) if source == "pyslowfast" else None


class PlainBackbone(Backbone):
    """A stem and two stages of two blocks."""

    def __init__(self, options: PlainOptions) -> None:
        super().__init__(options, out_channels=options.width, norm_eval=options.norm_eval)
        self.stem = nn.Conv3d(3, options.width, (1, 7, 7), stride=(1, 8, 8))
        self.stage1, self.stage2 = (nn.Sequential(*[_block(options.width) for _ in range(2)]) for _ in range(2))
        self.freeze()

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """See `Backbone`."""
        return self.stage1, self.stage2

    def stem_layers(self) -> list[nn.Module]:
        """See `Backbone`."""
        return [self.stem]

    def forward(self, x: Tensor) -> Tensor:
        """Features of clips."""
        x = self.stem(x)
        for stage in self.stages:
            x = self.run(stage, x)
        return x


def _block(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(width, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU())


def plain_sample() -> RecognitionConfig[PlainOptions]:
    """The network on the sample videos."""
    config = tsm_r18_video_1x1x8_sample_rgb()
    return TrainConfig(
        model=PlainOptions(num_classes=8),
        task=RecognitionOptions(),
        data=config.data,
        optim=config.optim,
        schedule=config.schedule,
        training=config.training,
        runtime=config.runtime,
    )
