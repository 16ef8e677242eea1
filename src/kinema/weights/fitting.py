"""Search for the recipe that another tool's weights fit, by keys and shapes."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.errors import MissingPackage, UserError, did_you_mean
from kinema.models import ModelOptions, Recognizer, RecognizerOptions, name_of
from kinema.models.foreign import ForeignOptions, HasForeign, Misfit, Source, foreign_misfits
from kinema.models.pretrained import inflated_state_dict
from kinema.models.resnet_names import is_of_pictures
from kinema.weights.foreign_configs import Trained
from kinema.weights.foreign_files import tools_of
from kinema.weights.model_files import AnyDescription

_BARE_BACKBONE = re.compile(r"(slow_path|fast_path|conv1|layer\d)\.")

_STEM = re.compile(r"(s1\.pathway\d_stem\.conv(_xy)?|patch_embed\.proj)\.weight$")
"""PySlowFast's first convolutions."""

_ROWS = 20  # maximum per kind in the table of a message


def as_trained(
    options: RecognizerOptions, state_dict: Mapping[str, Tensor], source: Source, trained: Trained | None = None
) -> RecognizerOptions:
    """Return a recipe's model options with those that the weights, their tool and its configuration determine."""
    if isinstance(options, ForeignOptions):
        options = options.of_source(state_dict, source)
    taken: Mapping[str, Any] = trained.taken if trained is not None else {}
    changes = {name: value for name, value in taken.items() if hasattr(options, name)}
    if "depth" in changes and getattr(options, "frozen_stages", -1) > changes["depth"]:
        changes["frozen_stages"] = changes["depth"]  # all blocks of a shallower network
    try:
        return replace(options, **changes)
    except (ValueError, TypeError) as error:
        raise UserError(f"the checkpoint's configuration describes no {name_of(options)}: {error}") from error


def disagreements(options: ModelOptions, source: Source, trained: Trained) -> list[str]:
    """List differences between a recipe's network and the one of a checkpoint's tool or configuration."""
    faults = options.of_source({}, source).unsupported(source) if isinstance(options, ForeignOptions) else []
    if trained.network and trained.network != name_of(options):
        return [*faults, f"the checkpoint is of a {trained.network}, the recipe of a {name_of(options)}"]
    for name, value in trained.options.items():
        if (ours := getattr(options, name)) != value:
            faults.append(f"{name} is {value} in the checkpoint, {ours} in the recipe")
    return faults


def with_clips(description: AnyDescription, trained: Trained) -> AnyDescription:
    """Return the description with the clips and kind of labels of a checkpoint's configuration."""

    def clipped(views: Views) -> Views:
        sampling = views.sampling
        if trained.clip is not None:
            sampling = replace(sampling, clip_len=trained.clip[0], frame_interval=trained.clip[1])
        elif trained.segments is not None and sampling.joined:
            sampling = replace(sampling, num_clips=trained.segments)
        elif trained.segments is not None:
            sampling = Sampling(clip_len=1, num_clips=trained.segments, joined=True)
        return replace(views, sampling=replace(sampling, spread=trained.spread))

    task = description.task
    if trained.labels is not None and trained.labels != task.labels:
        task = replace(task, labels=trained.labels, average="prob")
    if trained.average is not None:
        task = replace(task, average=trained.average)
    data = description.data
    views = {"val_views": clipped(data.val_views), "test_views": clipped(data.test_views)}
    return replace(description, data=replace(data, **views), task=task)


def with_input(description: AnyDescription, options: RecognizerOptions) -> AnyDescription:
    """Return the description with views of the frames and size that `options` fix, if its own network has others."""
    (frames, size), (their_frames, their_size) = (
        (getattr(one, "frames", 0), getattr(one, "size", 0)) for one in (description.model, options)
    )
    if (frames, size) == (their_frames, their_size):
        return description

    def adapted(views: Views) -> Views:
        sampling, crops = views.sampling, views.crops
        if sampling.clip_len == frames:
            sampling = replace(sampling, clip_len=their_frames)
        elif sampling.joined and sampling.num_clips == frames:
            sampling = replace(sampling, num_clips=their_frames)
        crops = replace(crops, size=their_size, short_side=round(crops.short_side * their_size / size))
        return replace(views, sampling=sampling, crops=crops)

    data = description.data
    views = {"val_views": adapted(data.val_views), "test_views": adapted(data.test_views)}
    return replace(description, data=replace(data, **views))


def weights_for(
    model: Recognizer, state_dict: Mapping[str, Tensor], source: Source, trained: Trained | None = None
) -> Mapping[str, Tensor]:
    """Return the state dict converted for `model`.

    Weights of a 2D ResNet are inflated for a 3D one; the input channels of a BGR stem are flipped to RGB.
    """
    if trained is not None and trained.reverses_channels:
        stems = [key for key in state_dict if _STEM.match(key)]
        state_dict = {**state_dict, **{key: state_dict[key].flip(1) for key in stems}}
    return inflated_state_dict(model, state_dict) if is_of_pictures(state_dict, source) else state_dict


def check_source(state_dict: Mapping[str, Tensor], source: Source, *, path: str) -> None:
    """Check that weights do not have another tool's names.

    Raises:
        UserError: no name is of `source`, and some are of another tool.
    """
    if source not in tools_of(state_dict) and (likelier := _likelier_tool(state_dict, source)):
        raise UserError(f"{path} holds no names of {source}'s; {likelier}")


def _likelier_tool(state_dict: Mapping[str, Tensor], source: Source) -> str:
    """Say which other tool the weights are likelier of; empty if none is."""
    tools = tools_of(state_dict)
    tool = next(iter(tools), source)
    if tool == source or source == "timm":  # whose networks have names of all kinds
        return ""
    return f"they look like those of {tool} ({tools[tool]}, …): --from {tool}"


def with_backbone_prefix(state_dict: Mapping[str, Tensor], source: Source) -> dict[str, Tensor]:
    """Return the weights; a state dict of MMAction2's backbone alone gets the names of a recognizer's backbone."""
    if source == "mmaction2" and all(_BARE_BACKBONE.match(key) for key in state_dict):
        return {f"backbone.{key}": value for key, value in state_dict.items()}
    return dict(state_dict)


def find_recipe(
    state_dict: Mapping[str, Tensor],
    candidates: Mapping[str, AnyDescription],
    *,
    source: Source,
    path: str,
    trained: Trained | None = None,
) -> str:
    """Return the recipe whose model the weights fit; among several, the one with the same number of classes and clips.

    Raises:
        UserError: they fit no recipe (the nearest are listed) or several, which differ in their clips or strides.
    """
    trained = trained or Trained()
    shapes = {key: value.to("meta") for key, value in state_dict.items()}
    misfits = _misfits(shapes, candidates, source, trained)
    fitting = [name for name in misfits if not misfits[name]]
    faults = {name: disagreements(candidates[name].model, source, trained) for name in fitting}
    if fitting and all(faults.values()):
        lines = [f"  {name}: {'; '.join(faults[name])}" for name in fitting]
        raise UserError(f"{path}: no recipe's network computes what these weights are of:\n" + "\n".join(lines))
    fitting = [name for name in fitting if not faults[name]]
    for preferred in _preferences(shapes, candidates, source, trained):
        fitting = [name for name in fitting if preferred(name)] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        width = max(map(len, fitting))
        lines = [f"  {name:{width}}  {_seen(candidates[name])}" for name in fitting]
        raise UserError(
            f"{path} fits {len(fitting)} recipes, which differ in their clips or strides: "
            f"name one with --recipe{did_you_mean(Path(path).stem, fitting)}\n" + "\n".join(lines)
        )
    nearest = sorted(misfits, key=lambda name: _distance(misfits[name], shapes))[:3]
    lines = [f"  {name}: {_counts(misfits[name])}" for name in nearest]
    likelier = _likelier_tool(state_dict, source)
    raise UserError(
        f"{path}: no recipe's model has these {len(state_dict)} weights of {source}'s{likelier and f'; {likelier}'}. "
        "The nearest (--recipe with one of them lists what does not fit):\n" + "\n".join(lines)
    )


def _preferences(
    shapes: Mapping[str, Tensor], candidates: Mapping[str, AnyDescription], source: Source, trained: Trained
) -> Iterator[Callable[[str], bool]]:
    """Criteria to choose among fitting recipes, the most important first."""
    yield (
        lambda name: (
            as_trained(candidates[name].model, shapes, source).num_classes == candidates[name].model.num_classes
        )
    )
    if trained.clip or trained.segments:
        yield lambda name: _clips(with_clips(candidates[name], trained)) == _clips(candidates[name])
    if trained.labels is not None:
        yield lambda name: with_clips(candidates[name], trained).task == candidates[name].task
    if source == "pyslowfast":  # which reads nothing else
        yield lambda name: candidates[name].data.source == "video"


def _clips(description: AnyDescription) -> tuple[int, int, int]:
    sampling = description.data.test_views.sampling
    return sampling.clip_len, sampling.frame_interval, sampling.num_clips


def _misfits(
    shapes: Mapping[str, Tensor], candidates: Mapping[str, AnyDescription], source: Source, trained: Trained
) -> dict[str, list[Misfit]]:
    known: dict[str, list[Misfit]] = {}  # many recipes train the same model
    misfits = {}
    for name, description in candidates.items():
        options = as_trained(description.model, shapes, source, trained)
        architecture = repr(options)
        if architecture not in known:
            try:
                with torch.device("meta"):
                    model = options.build()
            except MissingPackage:
                continue
            if not (isinstance(model, HasForeign) and model.foreign(source)):
                continue
            known[architecture] = foreign_misfits(model, weights_for(model, shapes, source), source=source)
        misfits[name] = known[architecture]
    return misfits


def _seen(description: AnyDescription) -> str:
    sampling, crops = description.data.test_views.sampling, description.data.test_views.crops
    clips = f"{sampling.clip_len}x{sampling.frame_interval}x{sampling.num_clips}"
    return f"{description.data.source:9}  tested on {clips}, {crops.crops} crop, {crops.size} px"


def _distance(misfits: Sequence[Misfit], shapes: Mapping[str, Tensor]) -> float:
    """Number of misfits per fitting weight."""
    return len(misfits) / (1 + len(shapes) - sum(misfit.found is not None for misfit in misfits))


def _counts(misfits: Sequence[Misfit]) -> str:
    kinds = [misfit.kind for misfit in misfits]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"{counts} ({misfits[0].key}{', …' if len(misfits) > 1 else ''})"


def misfit_table(misfits: Sequence[Misfit]) -> str:
    """Return a table of misfits, the first ones of each kind: kind, key, and shapes."""
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
