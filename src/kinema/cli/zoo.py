"""`kinema zoo [PATTERN]`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.errors import UserError, did_you_mean
from kinema.weights.published.table import matching, read_table


@dataclass(kw_only=True)
class Options:
    """List published weights for Kinema's networks: accuracy and views as published, in percent, the best first.

    `zoo:NAME` is a MODEL of every command: `kinema predict zoo:NAME clip.mp4`. It is downloaded and converted once, and
    kept in the cache, see KINEMA_CACHE and KINEMA_ZOO_MIRROR in docs/zoo.md.
    """

    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATTERN")] = "*"
    """Part of the names, data sets or tools to list, or a pattern with * and ? as in a shell."""
    json: bool = False
    """Print JSON, with the addresses; accuracy as fractions."""


def run(arguments: Sequence[str]) -> int:
    """Print the table."""
    options = parse(Options, arguments, command="zoo")
    table = read_table()
    rows = matching(options.pattern, table.values())
    if not rows:
        raise UserError(f"no published weights fit '{options.pattern}'{did_you_mean(options.pattern, table)}")
    if options.json:
        print(strict_json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    print_table(
        ("name", "data", "published", "views", "MB", "licence"),
        [(row.name, row.dataset, row.accuracy, row.views, f"{row.megabytes:.0f}", row.licence) for row in rows],
    )
    return 0
