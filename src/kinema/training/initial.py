"""Training from given weights: their network's options replace those of the recipe."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kinema.config import apply, as_argument, as_option, leaves, options_from, read
from kinema.errors import UserError
from kinema.models import MODELS, ModelOptions, name_of, options_class
from kinema.models.capabilities import HasInput, PretrainsBackbone
from kinema.training.config import AnyConfig, RecipeConfig, TrainConfig
from kinema.weights.find import find_model
from kinema.weights.model_files import OF_TRAINING, ModelJson, read_model_json

log = logging.getLogger(__name__)

_OF_INPUT = ("frames", "size")
"""Model options that follow the recipe's clips."""


def with_init(
    config: RecipeConfig, init: str | Path, *, given: Collection[str] = (), run: Path | None = None
) -> RecipeConfig:
    """Return a copy of the config with `training.init` set, and the network's options and normalization of its model.

    The recipe keeps what belongs to training, such as `dropout` or `frozen_stages`, and the number of classes.

    Args:
        config: options of the run, as a recipe returns them.
        init: trained model: a run, a checkpoint folder or a `model.safetensors`.
        given: dotted keys of options that the user has set, which must not contradict the model.
        run: `config.yaml` of a run to resume, whose options count instead of the model's.

    Raises:
        UserError: the config is a pipeline of several networks, there is no such model, or it is of another network
            than the config.
    """
    if not isinstance(config, TrainConfig):
        raise UserError("--init is for recipes that train one network: leave it out")
    config = replace(config, training=replace(config.training, init=str(init)))
    if run is not None:
        values = {key: value for key, value in read(run)[1].items() if key in _taken(config) and key not in given}
        return apply(config, values)
    content = read_model_json(find_model(init))
    theirs = _network_of(config, content)
    values = {f"model.{key}": leaf.value for key, leaf in leaves(theirs).items()}
    ours = _taken(config)
    changes = {key: values[key] for key, value in ours.items() if values[key] != value}
    _check_given(config, changes, given)
    if changes:
        told = " ".join(f"{as_option(key)} {as_argument(value)}" for key, value in changes.items())
        log.info("the network is that of %s: %s", init, told)
    config = apply(config, changes)
    _check_channels(config)
    return config


def _taken(config: AnyConfig) -> Mapping[str, object]:
    """Return the options of the network that its weights decide, by dotted key."""
    options = {key: leaf.value for key, leaf in leaves(config.model).items()}
    return {f"model.{key}": value for key, value in options.items() if key not in (*OF_TRAINING, *_OF_INPUT)}


def _network_of(config: AnyConfig, content: ModelJson) -> ModelOptions:
    """Return the options of the model's network, or of the one whose backbone it has pre-trained.

    Raises:
        UserError: it is another network than the config's.
    """
    ours, theirs = name_of(config.model), content.architecture
    own_code = ":" in ours and Path(ours).name == Path(theirs).name  # the file may have moved
    if ours == theirs or own_code:
        return options_from(type(config.model), content.model, origin=str(content.path))
    if theirs in MODELS:
        options = options_from(options_class(theirs), content.model, origin=str(content.path))
        if isinstance(options, PretrainsBackbone) and name_of(options.pretrains()) == ours:
            return options.pretrains()
    raise UserError(
        f"--init {config.training.init} is a model of the network '{theirs}' (recipe {content.recipe}), the recipe "
        f"{config.recipe} trains the network '{ours}': pass a recipe of the first, or other weights"
    )


def _check_given(config: AnyConfig, changes: Mapping[str, object], given: Collection[str]) -> None:
    if refused := [key for key in changes if key in given]:
        mine: dict[str, Any] = {key: leaf.value for key, leaf in leaves(config).items()}
        pairs = ", ".join(
            f"{as_option(key)} {as_argument(mine[key])} (the model has {as_argument(changes[key])})" for key in refused
        )
        raise UserError(
            f"--init {config.training.init} has another network than the options say: {pairs}; leave these out, or "
            "pass other weights"
        )


def _check_channels(config: AnyConfig) -> None:
    """Check that the network takes the channels of the recipe's clips: a model of optical flow does not fit RGB."""
    with torch.device("meta"):
        model = config.model.build()
    channels = config.task.input_shape(config)[0]
    if isinstance(model, HasInput) and model.input.channels != channels:
        raise UserError(
            f"--init {config.training.init} is a model of inputs of {model.input.channels} channels, the recipe "
            f"{config.recipe} reads {channels} (--data.source): pass a recipe that reads the same as the model"
        )
