"""What other tools' configurations say of a checkpoint's network and clips, where the file or its name has them."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from kinema.errors import UserError
from kinema.models.foreign_options import Source


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network and the clips that a checkpoint was trained with; empty where nothing is said."""

    network: str = ""
    """As in `kinema.models.MODELS` and `LOCALIZERS`."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options of the network that its weights do not show, and that tell one recipe's network from another's."""
    taken: Mapping[str, object] = field(default_factory=dict)
    """Options of the network that are taken over, whatever the recipe has."""
    reverses_channels: bool = False
    """Whether the network sees the normalised pixels as blue, green, red."""
    clip: tuple[int, int] | None = None
    """Frames, and the distance of neighbouring ones."""
    segments: int | None = None
    """Segments that the network sees together, a frame of each."""
    spread: bool = False
    """Whether the clips' frames are spread evenly over them; see `kinema.data.sampling.Sampling`."""
    labels: Literal["single", "multi"] | None = None
    """Whether a video shows one class or any number of them."""
    average: Literal["score", "prob", "max"] | None = None
    """What a video's score is over its views."""
    notes: tuple[str, ...] = ()
    """What of testing Kinema does in another way."""


def read_config(text: str, source: Source, *, path: str) -> Trained:
    """Read the configuration in a checkpoint; of the TSM repository, what the file's name says.

    Raises:
        UserError: it tells of a network that no model of Kinema computes.
    """
    faults: list[str] = []
    trained = Trained()
    if source == "tsm":
        trained = _tsm(path, faults)
    elif source == "pyslowfast":
        trained = _pyslowfast(cfg, faults) if (cfg := _yaml(text)) else Trained(spread=True)
    elif source == "mmaction2" and (cfg := _python(text)):
        trained = _mmaction2(cfg, faults)
    if faults:
        raise UserError(
            f"{path} cannot be converted: its own configuration says {'; '.join(faults)}, "
            "which no model of Kinema computes"
        )
    return trained


def _yaml(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("MODEL"), dict) else {}


def _python(text: str) -> dict[str, Any]:
    """The variables of a configuration in Python that are literals or calls of `dict`; nothing is run."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return {}
    content = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            content[statement.targets[0].id] = _literal(statement.value)
    return content if isinstance(content.get("model"), dict) else {}


def _literal(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id="dict"), keywords=keywords):
            return {keyword.arg: _literal(keyword.value) for keyword in keywords if keyword.arg}
        case ast.Dict(keys=keys, values=values):
            return {ast.literal_eval(key): _literal(value) for key, value in zip(keys, values, strict=True) if key}
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return tuple(_literal(item) for item in items)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


_NON_LOCAL = {"softmax": "embedded_gaussian", "dot_product": "dot_product"}
_LOCATIONS = [[[]], [[1, 3]], [[1, 3, 5]], [[]]]
"""Blocks after which I3D has non-local ones, by stage and pathway."""


def _pyslowfast(cfg: dict[str, Any], faults: list[str]) -> Trained:
    def value(key: str, default: Any = None) -> Any:
        section, name = key.split(".")
        found = cfg.get(section)
        return found.get(name, default) if isinstance(found, dict) else default

    def only(key: str, *allowed: Any, default: Any = None) -> None:
        if (found := value(key, default)) not in (*allowed, None):
            faults.append(f"{key} {found}")

    arch = value("MODEL.ARCH", "slowfast")
    only("MODEL.ARCH", "i3d", "slow", "slowfast")
    only("MODEL.MODEL_NAME", "ResNet", "SlowFast")
    only("MODEL.HEAD_ACT", "softmax", "sigmoid")
    only("DETECTION.ENABLE", False)
    only("RESNET.STRIDE_1X1", False)
    for number, pathways in (("RESNET.SPATIAL_STRIDES", (1, 2, 2, 2)), ("RESNET.SPATIAL_DILATIONS", (1, 1, 1, 1))):
        only(number, [[n] for n in pathways], [[n, n] for n in pathways])
    options: dict[str, object] = {}
    taken = _normalisation(value("DATA.MEAN"), value("DATA.STD"), 255)
    if arch == "slowfast":
        options = {"alpha": value("SLOWFAST.ALPHA", 8)}
        taken |= {"fusion_kernel": value("SLOWFAST.FUSION_KERNEL_SZ", 5), "beta": value("SLOWFAST.BETA_INV", 8)}
    nowhere = all(not blocks for stage in value("NONLOCAL.LOCATION", []) for blocks in stage)
    if arch == "i3d":
        options = {"non_local": "none" if nowhere else _NON_LOCAL.get(str(value("NONLOCAL.INSTANTIATION")), "")}
    if not nowhere:
        only("NONLOCAL.LOCATION", *([_LOCATIONS] if arch == "i3d" else []))
        only("NONLOCAL.INSTANTIATION", *_NON_LOCAL)
        pools = value("NONLOCAL.POOL", [])
        if any(pool != [1, 2, 2] for stage in pools[1:3] for pool in stage):
            faults.append(f"NONLOCAL.POOL {pools}")
        only("NONLOCAL.GROUP", [[1]] * 4)
    data = str(value("TEST.DATASET", "kinetics")).lower()
    multi = value("MODEL.HEAD_ACT", "softmax") == "sigmoid"
    adaptive = value("MULTIGRID.SHORT_CYCLE", False)
    taken["window"] = 0 if adaptive else value("DATA.TRAIN_CROP_SIZE", 224) // 32
    taken["window_scores"] = "sigmoid" if multi else "softmax"
    return Trained(
        network={"i3d": "i3d", "slow": "slowonly"}.get(arch, "slowfast"),
        options=options,
        clip=None if data == "ssv2" else _pair(value("DATA.NUM_FRAMES"), value("DATA.SAMPLING_RATE")),
        segments=value("DATA.NUM_FRAMES") if data == "ssv2" else None,
        spread=data not in ("ssv2", "charades"),
        taken=taken,
        reverses_channels=bool(value("DATA.REVERSE_INPUT_CHANNEL", False)),
        labels="multi" if multi else "single",
        average="max" if multi and value("DATA.ENSEMBLE_METHOD") == "max" else "prob",
    )


def _pair(frames: Any, interval: Any) -> tuple[int, int] | None:
    return (frames, interval) if isinstance(frames, int) and isinstance(interval, int) else None


def _normalisation(mean: Any, std: Any, scale: float) -> dict[str, object]:
    """Mean and standard deviation of pixels on the scale 0–255, where they are given for three colours."""
    if not all(isinstance(values, Sequence) and len(values) == 3 for values in (mean, std)):
        return {}
    return {name: tuple(float(n) * scale for n in values) for name, values in (("mean", mean), ("std", std))}


_NETWORKS = {
    ("Recognizer2D", "ResNet"): "tsn",
    ("Recognizer2D", "ResNetTSM"): "tsm",
    ("Recognizer3D", "ResNet3d"): "i3d",
    ("Recognizer3D", "ResNet3dSlowOnly"): "slowonly",
    ("Recognizer3D", "ResNet3dSlowFast"): "slowfast",
    ("Recognizer3D", "ResNet2Plus1d"): "r2plus1d",
}
"""MMAction2's recognizers and backbones."""


def _mmaction2(cfg: dict[str, Any], faults: list[str]) -> Trained:
    model = cfg["model"]
    kind = _type(model)
    if kind in ("BMN", "TEM", "PEM"):
        return Trained(network=kind.lower(), options=_bmn(model) if kind == "BMN" else {})
    backbone = model.get("backbone") or {}
    network = _NETWORKS.get((kind, _type(backbone)), "")
    if not network or model.get("neck"):
        parts = [kind, *(f"{part} {_type(model[part])}" for part in ("backbone", "neck") if model.get(part))]
        faults.append(" with ".join(parts))
        return Trained()
    faults += _mmaction2_faults(network, backbone, model.get("cls_head") or {})
    pipeline = [step for step in cfg.get("test_pipeline") or () if isinstance(step, dict)]
    sampling = next((step for step in pipeline if _type(step) == "SampleFrames"), {})
    notes: tuple[str, ...] = ()
    head, testing = model.get("cls_head") or {}, model.get("test_cfg") or {}
    average = head.get("average_clips") or testing.get("average_clips")
    normalise = next((step for step in pipeline if _type(step) == "Normalize"), model.get("data_preprocessor") or {})
    if normalise.get("to_bgr") or normalise.get("to_rgb"):
        faults.append("channels in the order blue, green, red")
    if not sampling and (kinds := [_type(step) for step in pipeline if "Sample" in _type(step)]):
        notes = (f"frames are taken by {kinds[0]}, Kinema takes those of the recipe",)
    clip = None if network in ("tsn", "tsm") else _pair(sampling.get("clip_len"), sampling.get("frame_interval", 1))
    return Trained(
        network=network,
        options=_mmaction2_options(network, backbone),
        clip=clip,
        segments=backbone.get("num_segments", 8) if network == "tsm" else None,
        taken=_normalisation(normalise.get("mean"), normalise.get("std"), 1),
        labels="multi" if head.get("multi_class") else None,
        average=average if average in ("score", "prob") else None,
        notes=notes,
    )


def _type(part: Any) -> str:
    return str(part.get("type", "")).rpartition(".")[2] if isinstance(part, dict) else ""


def _bmn(model: dict[str, Any]) -> dict[str, object]:
    names = {"parts": "temporal_dim", "samples": "num_samples", "points": "num_samples_per_bin"}
    names["boundary_ratio"] = "boundary_ratio"
    return {ours: model[theirs] for ours, theirs in names.items() if theirs in model}


_NON_LOCAL_STAGES = ((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0))


def _mmaction2_options(network: str, backbone: dict[str, Any]) -> dict[str, object]:
    match network:
        case "tsm":
            return {"shift_div": backbone.get("shift_div", 8)}
        case "slowfast":
            return {"alpha": backbone.get("speed_ratio", 8)}
        case "i3d":
            kind = (backbone.get("non_local_cfg") or {}).get("mode", "embedded_gaussian")
            return {
                "conv1_stride_t": backbone.get("conv1_stride_t", 1),
                "pool1_stride_t": backbone.get("pool1_stride_t", 1),
                "with_pool2": backbone.get("with_pool2", True),
                "non_local": kind if _any(backbone.get("non_local")) else "none",
            }
    return {}


def _mmaction2_faults(network: str, backbone: dict[str, Any], head: dict[str, Any]) -> Iterator[str]:
    """What differs from the one network that Kinema has under these names and shapes."""
    pathways = [backbone[name] for name in ("slow_pathway", "fast_pathway") if isinstance(backbone.get(name), dict)]
    for part in pathways or [backbone]:
        for option, allowed in _COMMON.items():
            if option in part and part[option] not in allowed:
                yield f"{option} {part[option]}"
        eps = (part.get("norm_cfg") or {}).get("eps", 1e-5)
        if eps != (1e-3 if network == "r2plus1d" else 1e-5):
            yield f"norm_cfg.eps {eps}"
    wanted: dict[str, Any] = {
        "tsn": {},
        "tsm": {"is_shift": True, "shift_place": "blockres", "temporal_pool": False},
        "i3d": {"temporal_strides": (1, 1, 1, 1), "with_pool1": True},
        "slowonly": {"conv1_stride_t": 1, "pool1_stride_t": 1, "temporal_strides": (1, 1, 1, 1), "with_pool2": False,
                     "with_pool1": True},
        "slowfast": {"resample_rate": backbone.get("speed_ratio", 8)},
        "r2plus1d": {"conv1_stride_t": 1, "pool1_stride_t": 1, "temporal_strides": (1, 2, 2, 2), "with_pool2": True},
    }[network]  # fmt: skip
    for option, value in wanted.items():
        if backbone.get(option, value) != value:
            yield f"{option} {backbone[option]}"
    for pathway in pathways:
        for option in ("conv1_stride_t", "pool1_stride_t"):
            if pathway.get(option, 1) != 1:
                yield f"{option} {pathway[option]}"
    if _any(backbone.get("non_local")):
        settings = backbone.get("non_local_cfg") or {}
        if network != "i3d" or backbone["non_local"] != _NON_LOCAL_STAGES:
            yield f"non_local {backbone['non_local']}"
        if not settings.get("sub_sample", False) or settings.get("use_scale", True):
            yield f"non_local_cfg {settings}"
    if head.get("spatial_type", "avg") != "avg":
        yield f"spatial_type {head['spatial_type']}"
    if head.get("temporal_pool"):
        yield "temporal_pool True"
    if _type(head.get("consensus", {"type": "AvgConsensus"})) != "AvgConsensus":
        yield f"consensus {_type(head['consensus'])}"


_COMMON: dict[str, tuple[Any, ...]] = {
    "style": ("pytorch",),
    "spatial_strides": ((1, 2, 2, 2),),
    "strides": ((1, 2, 2, 2),),
    "dilations": ((1, 1, 1, 1),),
    "num_stages": (4,),
}


def _any(value: Any) -> bool:
    return any(map(_any, value)) if isinstance(value, tuple) else bool(value)


def _tsm(path: str, faults: list[str]) -> Trained:
    """From a name such as `TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth`, as its own test does."""
    shift = re.search(r"_shift(\d+)_([a-z]+)_", path)
    segments = re.search(r"_segment(\d+)_", path)
    if shift is None:
        return Trained()
    if shift[2] != "blockres":
        faults.append(f"shift_place {shift[2]}")
    count = int(segments[1]) if segments else None
    return Trained(network="tsm", options={"shift_div": int(shift[1])}, segments=count)
