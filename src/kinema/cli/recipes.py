"""`kinema recipes [PATTERN]`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from typing import Annotated

import torch
import tyro

from kinema.cli.arguments import parse
from kinema.console import print_table, progress
from kinema.errors import UserError, did_you_mean
from kinema.models import build
from kinema.models.complexity import complexity
from kinema.recipes import RECIPES
from kinema.training import Config


@dataclass(kw_only=True)
class Options:
    """List the recipes: what they see (frames × height × width), parameters, and multiply-adds for one view."""

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
        print(json.dumps([asdict(row) for row in rows], indent=2))
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


def _rows(configs: Mapping[str, Config]) -> Iterator[_Row]:
    known: dict[str, tuple[int, int]] = {}  # many recipes train the same model
    with progress("measuring", len(configs)) as meter:
        for name, config in configs.items():
            frames, size = config.train_clip.sampling.frames, config.train_clip.crop.size
            key = f"{config.model} {frames} {size}"
            if key not in known:
                with torch.device("meta"):  # weights are not drawn, which takes longer than counting them
                    channels = 2 if config.data.source == "flow" else 3
                    known[key] = complexity(build(config.model), (1, channels, frames, size, size))
            parameters, macs = known[key]
            clip = f"{frames}×{size}×{size}"
            yield _Row(recipe=name, task="recognition", clip=clip, parameters=parameters, gmacs=macs / 1e9)
            meter.advance()
