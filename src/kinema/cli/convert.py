"""`kinema convert CHECKPOINT --from TOOL --output FOLDER` and `kinema convert MODEL --to mmaction2 --output FILE`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from kinema.cli.arguments import parse
from kinema.errors import UserError
from kinema.recipes import LOCALIZERS, RECOGNIZERS, config_of, recognizer_config_of
from kinema.storage import is_url
from kinema.tools import Source

if TYPE_CHECKING:
    from kinema.weights.model_files import AnyDescription

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Convert another tool's checkpoint to a model, or a model to a checkpoint of MMAction2.

    `kinema convert CHECKPOINT --from TOOL --output FOLDER` writes a model for test, predict and train --init.
    torchvision's 2D ResNets are accepted for TSN and TSM, and inflated for 3D models.
    `kinema convert MODEL --to mmaction2 --output FILE.pth` is the reverse.
    """

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT|URL|MODEL")]
    """Weights file (.pth, .pyth, .pth.tar …) or its http(s) URL, which is downloaded to the cache; with --to: a run, a
    checkpoint folder, a model.safetensors, or published weights (zoo:NAME or hf:ORG/NAME)."""
    output: Annotated[Path, tyro.conf.arg(metavar="FOLDER|FILE")]
    """Output folder of the model; with --to: output file."""
    source: Annotated[Source | None, tyro.conf.arg(name="from")] = None
    """Tool that wrote the checkpoint."""
    target: Annotated[Literal["mmaction2"] | None, tyro.conf.arg(name="to")] = None
    """Tool to convert to."""
    further: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE|URL")] = ()
    """Further weights files or URLs of the same model, such as that of an attentive probe beside its encoder's."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """Recipe of the model, or my_file.py:function; default: the recognizer's or localizer's that the weights fit. A
    recipe of pre-training keeps the decoder, too."""
    classes: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File with one class name per line; default: the names of Kinetics-400 or ImageNet if recognized, else numbers."""
    allow_missing: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATTERN")] = ()
    """Patterns (* and ? as in a shell) of keys that may be missing in the checkpoint, which keep random weights, or in
    the model, which are dropped."""


def run(arguments: Sequence[str]) -> int:
    """Convert."""
    options = parse(Options, arguments, command="convert")
    if (options.source is None) == (options.target is None):
        raise UserError("pass --from TOOL for another tool's checkpoint, or --to mmaction2 for a model")
    from kinema.tasks.models import load_model
    from kinema.weights.convert import convert, convert_pretraining, convert_to_mmaction2
    from kinema.weights.find import find_model

    if options.source is None:
        module, described = load_model(find_model(options.checkpoint))
        convert_to_mmaction2(module, described.model, options.output)
        log.info("checkpoint for MMAction2: %s", options.output)
        return 0
    checkpoint, *further = (_local(file) for file in (options.checkpoint, *options.further))
    if options.source in ("mmaction2", *_DETECTORS) and _convert_localizer(checkpoint, options, options.source):
        log.info("model: %s", options.output)
        return 0
    if options.source in _DETECTORS:
        raise UserError(f"{options.checkpoint} holds no weights of a detector of {options.source}'s")
    if options.recipe and (pretraining := _of_pretraining(options.recipe)) is not None:
        convert_pretraining(
            checkpoint, options.output, options.recipe, pretraining,
            source=options.source, allow_missing=options.allow_missing,
        )  # fmt: skip
        log.info("model: %s", options.output)
        return 0
    recipes = [options.recipe] if options.recipe else [*RECOGNIZERS]
    convert(
        checkpoint,
        options.output,
        {name: recognizer_config_of(name).describe() for name in recipes},
        source=options.source,
        further=further,
        classes=options.classes,
        allow_missing=options.allow_missing,
    )
    log.info("model: %s", options.output)
    return 0


_DETECTORS = ("actionformer", "tridet", "opentad")
"""Tools that have no recognizers."""


def _local(file: str) -> Path:
    """Return a file's path, or that of its download."""
    from kinema.weights.published.download import download

    return download(file).path if is_url(file) else Path(file)


def _of_pretraining(recipe: str) -> "AnyDescription | None":
    """Return the description of a recipe of pre-training; None for others."""
    from kinema.models.capabilities import PretrainsBackbone

    trainings = [*config_of(recipe).stages().values()]
    if len(trainings) > 1 or not isinstance(trainings[0].model, PretrainsBackbone):
        return None
    described: AnyDescription = trainings[0].describe()
    return described


def _convert_localizer(checkpoint: Path, options: Options, source: Source) -> bool:
    """Convert a localizer; return False if the checkpoint or the recipe is a recognizer's."""
    from kinema.weights.convert import convert_localizer

    stages = {name: config_of(name).stages() for name in ([options.recipe] if options.recipe else LOCALIZERS)}
    networks = {name: [*trainings.values()] for name, trainings in stages.items()}
    candidates = {
        name: trainings[0].describe()
        for name, trainings in networks.items()
        if len(trainings) == 1 and hasattr(trainings[0].model, "feature_channels")
    }
    return convert_localizer(
        checkpoint,
        options.output,
        candidates,
        source=source,
        classes=options.classes,
        allow_missing=options.allow_missing,
    )
