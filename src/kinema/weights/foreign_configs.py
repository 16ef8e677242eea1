"""Reading of other tools' configurations: saved in a checkpoint, or encoded in its file name."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from kinema.errors import UserError
from kinema.models import MODELS, options_class
from kinema.models.foreign import Configured, ForeignOptions, Source, ToolConfig


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Network, clips and test of a checkpoint according to its configuration."""

    network: str = ""
    """Name in `kinema.models.MODELS`."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options that the recipe's network must have."""
    taken: Mapping[str, object] = field(default_factory=dict)
    """Options that replace the recipe's."""
    reverses_channels: bool = False
    """Whether the input channels are blue, green, red."""
    clip: tuple[int, int] | None = None
    """Frames of a clip, and their interval."""
    segments: int | None = None
    """Number of segments, of one frame each."""
    spread: bool = False
    """Whether the clips' frames are spread evenly over them; see `kinema.data.sampling.Sampling`."""
    labels: Literal["single", "multi"] | None = None
    """Whether a video shows one class or any number of them."""
    classes: tuple[str, ...] = ()
    """Names of the classes."""
    average: Literal["score", "prob", "max"] | None = None
    """Averaging of the scores of a video's views."""
    notes: tuple[str, ...] = ()
    """Differences between the tool's test and Kinema's."""


def read_config(text: str, source: Source, *, path: str) -> Trained:
    """Read the configuration of a checkpoint; of the TSM repository, its file name.

    Raises:
        UserError: Kinema does not have the network.
    """
    faults: list[str] = []
    trained = Trained(spread=source == "pyslowfast")
    if source == "tsm" and (named := _network(ToolConfig({"path": path}, faults), source)):
        trained = Trained(network=named[0], options=named[1].options, segments=named[1].segments)
    elif source == "pyslowfast" and (cfg := _yaml(text)):
        trained = _pyslowfast(ToolConfig(cfg, faults))
    elif source == "mmaction2" and (cfg := _python(text)):
        trained = _mmaction2(ToolConfig(cfg, faults))
    elif source == "transformers" and (cfg := _json(text)):
        trained = _transformers(ToolConfig(cfg, faults))
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


def _json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _python(text: str) -> dict[str, Any]:
    """Return the variables of a Python configuration that are literals or calls of `dict`, without executing it."""
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


def _network(config: ToolConfig, source: Source) -> tuple[str, Configured] | None:
    """Return the name of a configuration's network in `MODELS`, and its options."""
    for name in MODELS:
        kind = options_class(name)
        if issubclass(kind, ForeignOptions) and (found := kind.from_config(config, source)):
            return name, found
    return None


def _pyslowfast(config: ToolConfig) -> Trained:
    network, found = _network(config, "pyslowfast") or ("", Configured())
    if not network:
        config.expect("MODEL.ARCH")
    config.expect("MODEL.HEAD_ACT", "softmax", "sigmoid")
    config.expect("DETECTION.ENABLE", False)
    normalization = _normalization(config.get("DATA.MEAN"), config.get("DATA.STD"), 255)
    data = str(config.get("TEST.DATASET", "kinetics")).lower()
    multi = config.get("MODEL.HEAD_ACT", "softmax") == "sigmoid"
    adaptive = config.get("MULTIGRID.SHORT_CYCLE", False)
    windows = {
        "window": 0 if adaptive else config.get("DATA.TRAIN_CROP_SIZE", 224) // 32,
        "window_scores": "sigmoid" if multi else "softmax",
    }
    frames = config.get("DATA.NUM_FRAMES")
    return Trained(
        network=network,
        options=found.options,
        clip=None if data == "ssv2" else _pair(frames, config.get("DATA.SAMPLING_RATE")),
        segments=frames if data == "ssv2" else None,
        spread=data not in ("ssv2", "charades"),
        taken={**windows, **normalization, **found.taken},
        reverses_channels=bool(config.get("DATA.REVERSE_INPUT_CHANNEL", False)),
        labels="multi" if multi else "single",
        average="max" if multi and config.get("DATA.ENSEMBLE_METHOD") == "max" else "prob",
    )


def _pair(frames: Any, interval: Any) -> tuple[int, int] | None:
    return (frames, interval) if isinstance(frames, int) and isinstance(interval, int) else None


def _normalization(mean: Any, std: Any, scale: float) -> dict[str, object]:
    """Return mean and standard deviation of RGB pixels on the scale 0–255, if the configuration has them."""
    if not all(isinstance(values, Sequence) and len(values) == 3 for values in (mean, std)):
        return {}
    return {name: tuple(float(n) * scale for n in values) for name, values in (("mean", mean), ("std", std))}


def _mmaction2(config: ToolConfig) -> Trained:
    network, found = _network(config, "mmaction2") or ("", Configured())
    if not network:
        parts = [
            f"{part} {config.type(f'model.{part}')}" for part in ("backbone", "neck") if config.get(f"model.{part}")
        ]
        config.faults.append(" with ".join([config.type("model"), *parts]))
        return Trained()
    pipeline = [ToolConfig(step, config.faults) for step in config.get("test_pipeline", ()) if isinstance(step, dict)]
    sampling = next((step for step in pipeline if step.type() == "SampleFrames"), None)
    normalize = next((step for step in pipeline if step.type() == "Normalize"), config.part("model.data_preprocessor"))
    if normalize.get("to_bgr") or normalize.get("to_rgb"):
        config.faults.append("channels in the order blue, green, red")
    notes: tuple[str, ...] = ()
    if sampling is None and (kinds := [step.type() for step in pipeline if "Sample" in step.type()]):
        notes = (f"frames are taken by {kinds[0]}, Kinema takes those of the recipe",)
    head = config.part("model.cls_head")
    average = head.get("average_clips") or config.get("model.test_cfg.average_clips")
    clip = _pair(sampling.get("clip_len"), sampling.get("frame_interval", 1)) if sampling and found.clips else None
    return Trained(
        network=network,
        options=found.options,
        clip=clip,
        segments=None if notes else found.segments,
        taken={**found.taken, **_normalization(normalize.get("mean"), normalize.get("std"), 1)},
        labels="multi" if head.get("multi_class") else None,
        average=average if average in ("score", "prob") else None,
        notes=notes,
    )


def _transformers(config: ToolConfig) -> Trained:
    """Read a `config.json`, with `preprocessor_config.json` under `preprocessor`."""
    network, found = _network(config, "transformers") or ("", Configured())
    if not network:
        config.faults.append(f"model_type {config.get('model_type')}")
        return Trained()
    labels = config.part("id2label").content
    names = tuple(str(labels.get(str(k), "")) for k in range(len(labels)))
    named = all(names) and not all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    mean, std = (config.get(f"preprocessor.image_{name}") for name in ("mean", "std"))
    return Trained(
        network=network,
        taken={**found.taken, **_normalization(mean, std, 255)},
        classes=names if named else (),
    )
