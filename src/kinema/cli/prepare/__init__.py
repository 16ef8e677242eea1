"""`kinema prepare WHAT …`: a module of this package for each."""

from collections.abc import Sequence

from kinema.cli.branches import run_branch

WHAT = {
    "sample": "render a small dataset to try things out on",
}
"""Each is a module of this package with a function `run(arguments) -> exit code`, imported when it is called."""


def run(arguments: Sequence[str]) -> int:
    """Prepare what the first argument names."""
    return run_branch("prepare", WHAT, arguments)
