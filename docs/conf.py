"""Configuration of the documentation, which `make docs` builds."""

import contextlib
import io
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx

from kinema.cli import COMMANDS, main
from kinema.version import __version__

project = "Kinema"
copyright = "Kinema's authors"  # noqa: A001  Sphinx calls it so
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "Kinema"
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

GROUPS = ("prepare", "evaluate", "benchmark")
EXAMPLE = "tsm_r50_video_1x1x8_50e_kinetics400_rgb"


def help_of(*command: str) -> str:
    """Return what a command's `--help` prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        main([*command, "--help"])
    return text.getvalue().strip()


def write_commands(app: Sphinx) -> None:
    """Write the page of all commands, from their `--help`."""
    commands: list[tuple[str, ...]] = []
    for name in COMMANDS:
        commands.append((name,))
        if name in GROUPS:
            commands.extend((name, subcommand) for subcommand in import_module(f"kinema.cli.{name}").SUBCOMMANDS)
    commands.append(("train", EXAMPLE))
    sections = [f"## {' '.join(command)}\n\n```text\n{help_of(*command)}\n```\n" for command in commands]
    page = Path(app.srcdir) / "reference" / "commands.md"
    page.write_text("# Commands\n\nWhat `--help` prints.\n\n" + "\n".join(sections), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Have Sphinx write generated pages first."""
    app.connect("builder-inited", write_commands)
