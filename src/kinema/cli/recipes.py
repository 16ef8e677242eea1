"""`kinema recipes [PATTERN]`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Gt

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table, progress
from kinema.errors import MissingPackage, UserError, did_you_mean
from kinema.recipes import RECIPES, RECOGNIZERS

if TYPE_CHECKING:
    from kinema.training import RecipeConfig


log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """List the recipes with input shape, parameters and multiply-adds per view.

    Inputs are frames × height × width of recognizers, features × parts of localizers, features of PEM.
    """

    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATTERN")] = "*"
    """Part of the names to list, or a pattern with * and ? as in a shell."""
    for_: Annotated[str, tyro.conf.arg(name="for", metavar="DATA")] = ""
    """Choose a recipe for these videos, a list or a folder of class folders, instead: why, and the line to type."""
    minutes: Annotated[float, Gt(0)] = 60
    """Time for the training with --for."""
    json: bool = False
    """Print JSON."""


def run(arguments: Sequence[str]) -> int:
    """Print the table, or advice."""
    options = parse(Options, arguments, command="recipes")
    if options.for_:
        return _advise(options)
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


def _advise(options: Options) -> int:
    from kinema.advice import advise, facts_of, seconds_per_clip

    facts = facts_of(options.for_)
    advice = advise(facts, minutes=options.minutes, seconds_of=seconds_per_clip)
    if options.json:
        print(strict_json.dumps({"facts": asdict(facts), **advice._asdict()}, indent=2))
        return 0
    print(facts)
    for reason in advice.reasons:
        print(f"- {reason}")
    print(f"\n{advice.command}")
    return 0


@dataclass(frozen=True, kw_only=True)
class _Row:
    recipe: str
    task: str
    clip: str
    parameters: int
    gmacs: float


def _rows(configs: "Mapping[str, RecipeConfig]") -> Iterator[_Row]:
    import torch

    from kinema.models.complexity import complexity

    known: dict[str, tuple[int, int]] = {}  # many recipes train the same model
    with progress("measuring", len(configs)) as meter:
        for name, config in configs.items():
            networks = [(stage.model, stage.task.input_shape(stage)) for stage in config.stages().values()]
            try:
                for model, shape in networks:
                    key = f"{model} {shape}"
                    if key not in known:
                        with torch.device("meta"):  # weights are not drawn, which takes longer than counting them
                            known[key] = complexity(model.build(), (1, *shape))
            except MissingPackage as error:
                log.warning("%s is not listed: %s", name, error)
                continue
            parameters, macs = (sum(known[f"{model} {shape}"][i] for model, shape in networks) for i in (0, 1))
            yield _Row(
                recipe=name,
                task="recognition" if name in RECOGNIZERS else "localization",
                clip=" + ".join("×".join(map(str, shape[-3:])) for _, shape in networks),
                parameters=parameters,
                gmacs=macs / 1e9,
            )
            meter.advance()
