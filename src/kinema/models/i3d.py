"""I3D: ResNets inflated from pictures to clips (Carreira & Zisserman, 2017, arXiv:1705.07750), with or without
non-local blocks (Wang et al., 2018, arXiv:1711.07971).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor

from kinema.models.foreign import Configured, Foreign, Rules, Source, ToolConfig
from kinema.models.non_local import NonLocal, NonLocalForm, NonLocalKind
from kinema.models.recognizer import Recognizer
from kinema.models.resnet3d import Inflate, InflateStyle, ResNet3d, ResNet3dOptions
from kinema.models.resnet_names import (
    MMACTION2,
    PYSLOWFAST,
    RESNET_3D,
    by_rules,
    has_any,
    is_pyslowfast,
    mmaction2_backbone,
)


@dataclass(kw_only=True)
class I3DOptions(ResNet3dOptions):
    """Options of I3D. The defaults are for clips of 32 frames; for 8 frames set the strides to 1."""

    conv1_kernel_t: int = 5
    """Kernel size of the first convolution along time."""
    conv1_stride_t: Literal[1, 2] = 2
    """Stride of the first convolution along time."""
    pool1_stride_t: Literal[1, 2] = 2
    """Stride of the first pooling along time."""
    with_pool2: bool = True
    """Halve the frames after the first stage by max pooling."""
    inflate: Inflate = "alternate"
    """Blocks with temporal convolutions: all; the first stage's and every second of the others (alternate); the first
    stage's (early); the last two stages' (late)."""
    inflate_style: InflateStyle = "3x1x1"
    """Temporal convolution of a bottleneck: its first (3x1x1) or its middle one (3x3x3)."""
    non_local: NonLocalKind | Literal["none"] = "none"
    """Pairwise function of the non-local blocks after every second block of the middle stages; none: no such blocks."""
    non_local_form: NonLocalForm = "mmaction2"
    """Non-local blocks as in MMAction2, pooled after the projections, or as in PySlowFast, pooled before them and
    scaled."""
    pretrained: Literal["imagenet", "none"] = "imagenet"
    """Initial weights of the backbone: torchvision's ImageNet weights, downloaded once and inflated, or none."""

    def build(self) -> "I3D":
        """Return an I3D with random weights."""
        return I3D(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        form: NonLocalForm = "pyslowfast" if source == "pyslowfast" else "mmaction2"
        return replace(super().of_source(weights, source), non_local_form=form)

    def unsupported(self, source: Source) -> list[str]:
        """See `ForeignOptions`."""
        strides = self.conv1_stride_t, self.pool1_stride_t
        if source == "pyslowfast" and (strides != (1, 1) or not self.with_pool2):
            return ["PySlowFast's I3D keeps all frames in its stem and halves them after the first stage"]
        if source == "mmaction2" and self.non_local != "none" and self.non_local_form != "mmaction2":
            return ["MMAction2's non-local blocks differ from PySlowFast's"]
        return []

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """See `ForeignOptions`."""
        if source == "mmaction2":
            return "conv1_stride_t", "pool1_stride_t", "with_pool2", "non_local"
        return ("non_local",) if self.non_local != "none" else ()

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source == "pyslowfast":
            return _of_pyslowfast(config) if is_pyslowfast(config, "i3d") else None
        found = mmaction2_backbone(
            config, "Recognizer3D", "ResNet3d", non_local=True, temporal_strides=(1, 1, 1, 1), with_pool1=True
        )
        return None if found is None else _of_mmaction2(found)


class I3D(Recognizer):
    """An inflated ResNet with or without non-local blocks; T ≥ 5 with the default strides."""

    def __init__(self, options: I3DOptions) -> None:
        backbone = ResNet3d(
            options,
            conv1_kernel_t=options.conv1_kernel_t,
            conv1_stride_t=options.conv1_stride_t,
            pool1_stride_t=options.pool1_stride_t,
            with_pool2=options.with_pool2,
            inflate=options.inflate,
            inflate_style=options.inflate_style,
        )
        if options.non_local != "none":
            for block in (*backbone.layer2[1:4:2], *backbone.layer3[1:6:2]):
                block.non_local = NonLocal(block.last_norm.num_features, options.non_local, options.non_local_form)
            backbone.freeze()
        super().__init__(options, backbone, window=options.window, window_scores=options.window_scores)

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2 and PySlowFast, and of weights inflated from torchvision's ResNets."""
        mmaction2, pyslowfast = MMACTION2 + _NON_LOCAL_MMACTION2, PYSLOWFAST + _NON_LOCAL_PYSLOWFAST
        return by_rules(self, source, {**RESNET_3D, "mmaction2": mmaction2, "pyslowfast": pyslowfast})


_NON_LOCAL_MMACTION2: Rules = (
    (r"\.non_local\.theta$", ".non_local_block.theta.conv"),
    (r"\.non_local\.(phi|g)$", r".non_local_block.\1.0.conv"),
    (r"\.non_local\.out$", ".non_local_block.conv_out.conv"),
    (r"\.non_local\.norm$", ".non_local_block.conv_out.bn"),
)
_NON_LOCAL_PYSLOWFAST: Rules = (
    (r"_res(\d+)\.non_local\.norm$", r"_nonlocal\1.bn"),
    (r"_res(\d+)\.non_local\.", r"_nonlocal\1.conv_"),
)


def _of_pyslowfast(config: ToolConfig) -> Configured:
    kinds = {"softmax": "embedded_gaussian", "dot_product": "dot_product"}
    if not has_any(config.get("NONLOCAL.LOCATION", [])):
        return Configured(options={"non_local": "none"})
    config.expect("NONLOCAL.LOCATION", [[[]], [[1, 3]], [[1, 3, 5]], [[]]])  # by stage and pathway
    config.expect("NONLOCAL.INSTANTIATION", *kinds)
    config.expect("NONLOCAL.GROUP", [[1]] * 4)
    pools = config.get("NONLOCAL.POOL", [])
    if any(pool != [1, 2, 2] for stage in pools[1:3] for pool in stage):
        config.faults.append(f"NONLOCAL.POOL {pools}")
    return Configured(options={"non_local": kinds.get(str(config.get("NONLOCAL.INSTANTIATION")), "")})


def _of_mmaction2(backbone: ToolConfig) -> Configured:
    kind, settings = "none", backbone.part("non_local_cfg")
    if has_any(backbone.get("non_local")):
        kind = settings.get("mode", "embedded_gaussian")
        backbone.expect("non_local", ((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)))
        if not settings.get("sub_sample", False) or settings.get("use_scale", True):
            backbone.faults.append(f"non_local_cfg {settings.content}")
    return Configured(
        options={
            "conv1_stride_t": backbone.get("conv1_stride_t", 1),
            "pool1_stride_t": backbone.get("pool1_stride_t", 1),
            "with_pool2": backbone.get("with_pool2", True),
            "non_local": kind,
        }
    )
