"""`kinema recipes [PATTERN]`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from typing import Annotated

import torch
import tyro

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table, progress
from kinema.data.readers.sources import FLOW
from kinema.errors import UserError, did_you_mean
from kinema.models import LocalizerOptions, ModelOptions, build
from kinema.models.bsn import PEMOptions
from kinema.models.complexity import complexity
from kinema.recipes import RECIPES
from kinema.tasks.localization.data import FeatureData, LoadingOptions
from kinema.training import BSNConfig, Config, LocalizationConfig, RecipeConfig


@dataclass(kw_only=True)
class Options:
    """List the recipes: what they see, parameters, and multiply-adds for one view.

    Recognizers see frames × height × width, localizers features × parts of a video, PEM the features of a candidate.
    """

    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATTERN")] = "*"
    """Names to list: part of a name, or with * and ? as in a shell."""
    json: bool = False
    """Print JSON."""


def run(arguments: Sequence[str]) -> int:
    """Print the table."""
    options = parse(Options, arguments, command="recipes")
    pattern = options.pattern if any(sign in options.pattern for sign in "*?[") else f"*{options.pattern}*"
    names = [name for name in RECIPES if fnmatch(name, pattern)]
    if not names:
        raise UserError(f"no recipe's name fits '{options.pattern}'{did_you_mean(options.pattern, RECIPES)}")
    rows = list(_rows({name: RECIPES[name]() for name in names}))
    if options.json:
        print(strict_json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    header = ("recipe", "task", "clip", "parameters (M)", "GMACs")
    print_table(
        header,
        [(row.recipe, row.task, row.clip, f"{row.parameters / 1e6:.2f}", f"{row.gmacs:.2f}") for row in rows],
    )
    return 0


@dataclass(frozen=True, kw_only=True)
class _Row:
    recipe: str
    task: str
    clip: str
    parameters: int
    gmacs: float


def _rows(configs: Mapping[str, RecipeConfig]) -> Iterator[_Row]:
    known: dict[str, tuple[int, int]] = {}  # many recipes train the same model
    with progress("measuring", len(configs)) as meter:
        for name, config in configs.items():
            networks = list(_networks(config))
            for model, shape in networks:
                key = f"{model} {shape}"
                if key not in known:
                    with torch.device("meta"):  # weights are not drawn, which takes longer than counting them
                        known[key] = complexity(build(model), (1, *shape))
            parameters, macs = (sum(known[f"{model} {shape}"][i] for model, shape in networks) for i in (0, 1))
            yield _Row(
                recipe=name,
                task="recognition" if isinstance(config, Config) else "localization",
                clip=" + ".join("×".join(map(str, shape[-3:])) for _, shape in networks),
                parameters=parameters,
                gmacs=macs / 1e9,
            )
            meter.advance()


def _networks(config: RecipeConfig) -> Iterator[tuple[ModelOptions, tuple[int, ...]]]:
    """The networks of a recipe, each with the shape of one input."""
    match config:
        case Config():
            frames, size = config.train_clip.sampling.frames, config.train_clip.crop.size
            yield config.model, (2 if config.data.source in FLOW else 3, frames, size, size)
        case LocalizationConfig():
            yield config.model, _shape_of_features(config.model, config.data)
        case BSNConfig():
            for stage in (config.tem, config.pem):
                yield stage.model, _shape_of_features(stage.model, config.data)


def _shape_of_features(model: LocalizerOptions, data: LoadingOptions) -> tuple[int, ...]:
    """Features at each part of a video; PEM's are of one candidate."""
    if isinstance(model, PEMOptions) or not isinstance(data, FeatureData):
        return (model.feature_channels,)
    return (model.feature_channels, data.parts)
