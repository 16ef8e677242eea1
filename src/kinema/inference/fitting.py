"""Which recipe's model another tool's weights belong to, told by their names and shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kinema.errors import UserError, did_you_mean
from kinema.inference.model_files import ModelDescription
from kinema.models import I3DOptions, Options, Recognizer, SlowFastOptions, build
from kinema.models.foreign import Misfit, Source, foreign_misfits
from kinema.models.pretrained import inflated_state_dict

_HEADS: dict[Source, str] = {
    "mmaction2": "cls_head.fc_cls.weight",
    "pyslowfast": "head.projection.weight",
    "tsm": "new_fc.weight",
    "torchvision": "fc.weight",
}

_BEGINNINGS: dict[Source, tuple[str, ...]] = {
    "mmaction2": ("backbone.", "cls_head."),
    "pyslowfast": ("s1.pathway", "s2.pathway"),
    "tsm": ("base_model.",),
    "torchvision": ("conv1.", "stem.", "layer1."),
}

_PYSLOWFAST_MEAN, _PYSLOWFAST_STD = 0.45 * 255, 0.225 * 255
"""By which PySlowFast normalises all three colours."""

_ROWS = 20  # of each kind in a message's table


def as_trained(options: Options, state_dict: Mapping[str, Tensor], source: Source) -> Options:
    """A recipe's model with what the weights, or the tool that trained them, say otherwise.

    The weights tell the number of classes, and whether SlowFast's lateral connections have batch norm. PySlowFast has
    its own normalisation and its own form of non-local blocks.
    """
    head = state_dict.get(_HEADS[source])
    if head is not None and head.dim() == 2:
        options = replace(options, num_classes=head.shape[0])
    if isinstance(options, SlowFastOptions):
        options = replace(options, lateral_norm=any("_lateral.bn." in key or "_fuse.bn." in key for key in state_dict))
    if source == "pyslowfast":
        mean, std = (_PYSLOWFAST_MEAN,) * 3, (_PYSLOWFAST_STD,) * 3
        options = replace(options, mean=mean, std=std)
        if isinstance(options, I3DOptions):
            options = replace(options, non_local_form="pyslowfast")
    return options


def is_of_pictures(state_dict: Mapping[str, Tensor], source: Source) -> bool:
    """Whether the weights are those of torchvision's 2D ResNets."""
    return source == "torchvision" and "conv1.weight" in state_dict and state_dict["conv1.weight"].dim() == 4


def weights_for(model: Recognizer, state_dict: Mapping[str, Tensor], source: Source) -> Mapping[str, Tensor]:
    """The state dict as `model` can take it: that of a 2D ResNet is inflated for a 3D one."""
    return inflated_state_dict(model, state_dict) if is_of_pictures(state_dict, source) else state_dict


def check_source(state_dict: Mapping[str, Tensor], source: Source, *, path: str) -> None:
    """See that weights are not called as another tool calls them.

    Raises:
        UserError: none has a name of `source`'s kind, some have one of another tool's.
    """
    examples = {
        tool: next((key for key in state_dict if key.startswith(_BEGINNINGS[tool])), "") for tool in _BEGINNINGS
    }
    others = [tool for tool, example in examples.items() if example]
    if others and not examples[source]:
        raise UserError(
            f"{path} holds no names of {source}'s; they look like those of {others[0]} ({examples[others[0]]}, …): "
            f"--from {others[0]}"
        )


def find_recipe(
    state_dict: Mapping[str, Tensor], candidates: Mapping[str, ModelDescription], *, source: Source, path: str
) -> str:
    """The one recipe whose model the weights fit; among several, the one with as many classes.

    Raises:
        UserError: they fit none, which are then the nearest; or several, which differ in how they see videos.
    """
    shapes = {key: value.to("meta") for key, value in state_dict.items()}
    misfits = _misfits(shapes, candidates, source)
    fitting = [name for name in candidates if not misfits[name]]
    head = shapes.get(_HEADS[source])
    if head is not None:
        fitting = [name for name in fitting if candidates[name].model.num_classes == head.shape[0]] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        width = max(map(len, fitting))
        lines = [f"  {name:{width}}  {_seen(candidates[name])}" for name in fitting]
        raise UserError(
            f"{path} fits {len(fitting)} recipes, which differ in how they see a video, or in strides: "
            f"name one with --recipe{did_you_mean(Path(path).stem, fitting)}\n" + "\n".join(lines)
        )
    nearest = sorted(misfits, key=lambda name: _distance(misfits[name], shapes))[:3]
    lines = [f"  {name}: {_counts(misfits[name])}" for name in nearest]
    raise UserError(
        f"{path}: no recipe's model has these {len(state_dict)} weights of {source}'s. "
        "The nearest (--recipe with one of them lists what does not fit):\n" + "\n".join(lines)
    )


def _misfits(
    shapes: Mapping[str, Tensor], candidates: Mapping[str, ModelDescription], source: Source
) -> dict[str, list[Misfit]]:
    known: dict[str, list[Misfit]] = {}  # many recipes train the same model
    misfits = {}
    for name, description in candidates.items():
        options = as_trained(description.model, shapes, source)
        architecture = repr(options)
        if architecture not in known:
            with torch.device("meta"):
                model = build(options)
            known[architecture] = foreign_misfits(model, weights_for(model, shapes, source), source=source)
        misfits[name] = known[architecture]
    return misfits


def _seen(description: ModelDescription) -> str:
    sampling, crops = description.test_views.sampling, description.test_views.crops
    clips = f"{sampling.clip_len}x{sampling.frame_interval}x{sampling.num_clips}"
    return f"{description.data.source:9}  tested on {clips}, {crops.crops} crop, {crops.size} px"


def _distance(misfits: Sequence[Misfit], shapes: Mapping[str, Tensor]) -> float:
    """Misfits for each weight that fits."""
    return len(misfits) / (1 + len(shapes) - sum(misfit.found is not None for misfit in misfits))


def _counts(misfits: Sequence[Misfit]) -> str:
    kinds = [misfit.kind for misfit in misfits]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"{counts} ({misfits[0].key}{', …' if len(misfits) > 1 else ''})"


def misfit_table(misfits: Sequence[Misfit]) -> str:
    """The keys that do not fit, a line each: what is wrong, the key, its shapes; of many the first of each kind."""
    lines = []
    for kind in dict.fromkeys(misfit.kind for misfit in misfits):
        alike = [misfit for misfit in misfits if misfit.kind == kind]
        width = max(len(misfit.key) for misfit in alike[:_ROWS])
        lines += [f"  {kind:16}  {misfit.key:{width}}  {_shapes(misfit)}" for misfit in alike[:_ROWS]]
        if len(alike) > _ROWS:
            lines.append(f"  {kind:16}  … and {len(alike) - _ROWS} more")
    return "\n".join(lines)


def _shapes(misfit: Misfit) -> str:
    if misfit.found is None or misfit.wanted is None:
        return str(list(misfit.wanted or misfit.found or ()))
    return f"{list(misfit.found)} instead of {list(misfit.wanted)}"
