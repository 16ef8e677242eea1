"""Other tools' names of what their ResNets share, and their configurations."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kinema.models.foreign import Foreign, Rules, Source, ToolConfig, renamed

MMACTION2: Rules = (
    (r"\bconv(\d)\b", r"conv\1.conv"),
    (r"\bbn(\d)$", r"conv\1.bn"),
    (r"\bdownsample\.0\b", "downsample.conv"),
    (r"\bdownsample\.1$", "downsample.bn"),
    (r"^fc$", "cls_head.fc_cls"),
)

# Pathway 0 is the only one or the slow one; the stem is stage 1.
PYSLOWFAST: Rules = (
    (r"^backbone\.(?=conv|bn|layer)", "pathway0."),
    (r"^(pathway\d)\.(conv|bn)1$", r"s1.\1_stem.\2"),
    (r"^(pathway\d)\.layer(\d)\.(\d+)\.", lambda found: f"s{int(found[2]) + 1}.{found[1]}_res{found[3]}."),
    (r"\.downsample\.0$", ".branch1"),
    (r"\.downsample\.1$", ".branch1_bn"),
    (r"\.(conv|bn)1$", r".branch2.a.\1"),
    (r"\.(conv|bn)2$", r".branch2.b.\1"),
    (r"\.(conv|bn)3$", r".branch2.c.\1"),
    (r"(\.branch2\.[abc])\.conv$", r"\1"),
    (r"(\.branch2\.[abc])\.bn$", r"\1_bn"),
    (r"^fc$", "head.projection"),
)

TSM: Rules = ((r"^backbone\.", "base_model."), (r"^fc$", "new_fc"))

TORCHVISION: Rules = ((r"^backbone\.", ""),)
"""2D ResNets."""

TORCHVISION_VIDEO: Rules = (
    (r"^backbone\.conv1$", "stem.0"),
    (r"^backbone\.bn1$", "stem.1"),
    (r"^backbone\.", ""),
    (r"\bconv(\d)\b", r"conv\1.0"),
    (r"\bbn(\d)$", r"conv\1.1"),
)
"""3D ResNets, whose layers within the stem and the convolutions are numbered."""

RESNET_3D: Mapping[Source, Rules] = {
    "mmaction2": MMACTION2, "pyslowfast": PYSLOWFAST, "torchvision": TORCHVISION_VIDEO,
}  # fmt: skip

PYSLOWFAST_WINDOW = 7
"""Height and width of the features of crops of 224 px, on which PySlowFast trains."""


def by_rules(model: nn.Module, source: Source, rules: Mapping[Source, Rules]) -> Foreign | None:
    """Return the names that `rules` of `source` give; None if there are none."""
    return Foreign(names=renamed(model, rules[source])) if source in rules else None


def is_of_pictures(weights: Mapping[str, Tensor], source: Source) -> bool:
    """Return whether the weights are those of torchvision's image networks."""
    return source == "torchvision" and max((weight.dim() for weight in weights.values()), default=0) == 4


def is_pyslowfast(config: ToolConfig, arch: str) -> bool:
    """Return whether a configuration is of PySlowFast's ResNets of `arch`, noting what Kinema's do not compute."""
    if config.get("MODEL.ARCH", "slowfast") != arch:
        return False
    config.expect("MODEL.MODEL_NAME", "ResNet", "SlowFast")
    config.expect("RESNET.STRIDE_1X1", False)
    for key, pathways in (("RESNET.SPATIAL_STRIDES", (1, 2, 2, 2)), ("RESNET.SPATIAL_DILATIONS", (1, 1, 1, 1))):
        config.expect(key, [[n] for n in pathways], [[n, n] for n in pathways])
    if arch != "i3d" and has_any(config.get("NONLOCAL.LOCATION", [])):
        config.expect("NONLOCAL.LOCATION")
    return True


def mmaction2_backbone(
    config: ToolConfig, recognizer: str, backbone: str, *, eps: float = 1e-5, non_local: bool = False, **fixed: Any
) -> ToolConfig | None:
    """Return a backbone's configuration, None if it is of another class, noting what Kinema's does not compute.

    Args:
        config: MMAction2's configuration.
        recognizer: class of the model.
        backbone: class of the backbone.
        eps: of batch norm.
        non_local: whether Kinema's network may have non-local blocks.
        fixed: values that other options of the backbone must have.
    """
    if (config.type("model"), config.type("model.backbone")) != (recognizer, backbone) or config.get("model.neck"):
        return None
    part, head = config.part("model.backbone"), config.part("model.cls_head")
    pathways = [part.part(name) for name in ("slow_pathway", "fast_pathway") if part.get(name)]
    for each in pathways or [part]:
        for key, value in _COMMON.items():
            each.expect(key, value)
        if each.get("norm_cfg.eps", 1e-5) != eps:
            config.faults.append(f"norm_cfg.eps {each.get('norm_cfg.eps', 1e-5)}")
    for each in pathways:
        each.expect("conv1_stride_t", 1)
        each.expect("pool1_stride_t", 1)
    for key, value in fixed.items():
        part.expect(key, value)
    if not non_local and has_any(part.get("non_local")):
        part.expect("non_local")
    head.expect("spatial_type", "avg")
    head.expect("temporal_pool", False)
    if head.get("consensus") and head.type("consensus") != "AvgConsensus":
        config.faults.append(f"consensus {head.type('consensus')}")
    return part


_COMMON = {
    "style": "pytorch",
    "spatial_strides": (1, 2, 2, 2),
    "strides": (1, 2, 2, 2),
    "dilations": (1, 1, 1, 1),
    "num_stages": 4,
}


def has_any(value: object) -> bool:
    """Return whether a nested sequence has a true element."""
    return any(map(has_any, value)) if isinstance(value, Sequence) and not isinstance(value, str) else bool(value)
