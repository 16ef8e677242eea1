"""`kinema completion bash|zsh|fish`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from kinema.cli.arguments import options_class, parse
from kinema.cli.completion_scripts import SCRIPTS, Command, options_of
from kinema.cli.subcommands import load_command, subcommands_of

_RECIPES = ("train", "tune", "submit", "benchmark train", "benchmark data", "benchmark model")
"""Commands whose positional argument is a recipe."""
_MODELS = (
    "test", "calibrate", "predict", "localize", "explain", "export", "serve", "inspect", "prepare features",
    "prepare candidates",
)  # fmt: skip
"""Commands whose positional argument is a model."""


@dataclass(kw_only=True)
class Options:
    """Print a script that lets a shell complete commands, options, their values, recipes and published weights.

    bash: kinema completion bash > ~/.local/share/bash-completion/completions/kinema

    zsh: kinema completion zsh > ~/.zfunc/_kinema, with `fpath+=~/.zfunc; autoload -Uz compinit; compinit` in ~/.zshrc

    fish: kinema completion fish > ~/.config/fish/completions/kinema.fish

    Print it again after an update of Kinema.
    """

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional, tyro.conf.arg(metavar="bash|zsh|fish")]
    """Shell that the script is for."""


def run(arguments: Sequence[str]) -> int:
    """Print the script."""
    options = parse(Options, arguments, command="completion")
    print(SCRIPTS[options.shell]([*_commands()]), end="")
    return 0


def _commands() -> Iterator[Command]:
    from kinema.cli import COMMANDS
    from kinema.recipes import RECIPES
    from kinema.weights.published.table import ZOO, read_table

    weights = tuple(ZOO + name for name in read_table())
    for command, description in COMMANDS.items():
        subcommands = subcommands_of(command)
        if subcommands:
            yield Command(name=command, description=description, words=tuple(subcommands))
        for name, text in subcommands.items() or [("", description)]:
            full = f"{command} {name}".strip()
            yield Command(
                name=full,
                description=text,
                options=options_of(options_class(load_command(command).run, [name] if name else [])),
                words=tuple(RECIPES) if full in _RECIPES else weights if full in _MODELS else (),
            )
