"""`kinema recipes [PATTERN]`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from typing import Annotated

import tyro
from annotated_types import Gt

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.errors import UserError, did_you_mean
from kinema.recipes import RECIPES, RECOGNIZERS
from kinema.recipes.sizes import size_of


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
    rows = [_row(name) for name in names]
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
    if advice.alternative:
        print(f"\nto compare it with:\n{advice.alternative}")
    return 0


@dataclass(frozen=True, kw_only=True)
class _Row:
    recipe: str
    task: str
    clip: str
    parameters: int
    gmacs: float


def _row(name: str) -> _Row:
    size = size_of(name)
    task = "recognition" if name in RECOGNIZERS else "localization"
    return _Row(recipe=name, task=task, clip=size.clip, parameters=size.parameters, gmacs=size.macs / 1e9)
