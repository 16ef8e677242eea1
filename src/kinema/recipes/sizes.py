"""Sizes of the recipes' networks, kept in `sizes.csv` so that listing them imports no torch.

`python -m kinema.recipes.sizes` measures all recipes and writes the table.
"""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.recipes import RECIPES, find_recipe

if TYPE_CHECKING:
    from kinema.models import ModelOptions

TABLE = Path(__file__).with_name("sizes.csv")


@dataclass(frozen=True, kw_only=True)
class Size:
    """Size of a recipe's network, or of all networks of a pipeline."""

    clip: str
    """Shape of an input: frames×height×width of recognizers, features×parts of localizers."""
    parameters: int
    macs: int
    """Multiply-adds of a forward pass of one input, of convolutions and matrix products."""


def size_of(name: str) -> Size:
    """Return the size of a recipe of the table; measure that of another."""
    return read_sizes().get(name) or measure_size(name)


@cache
def read_sizes(file: Path = TABLE) -> dict[str, Size]:
    """Return the sizes in a table by recipe."""
    with file.open(newline="", encoding="utf-8") as lines:
        return {
            row["recipe"]: Size(clip=row["clip"], parameters=int(row["parameters"]), macs=int(row["macs"]))
            for row in csv.DictReader(lines)
        }


def measure_size(name: str) -> Size:
    """Return the size of a recipe by building its networks without weights.

    Raises:
        MissingPackage: its backbone is one of a package that is not installed.
    """
    networks = [(stage.model, stage.task.input_shape(stage)) for stage in find_recipe(name)().stages().values()]
    counts = [_counts(model, shape) for model, shape in networks]
    return Size(
        clip=" + ".join("×".join(map(str, shape[-3:])) for _, shape in networks),
        parameters=sum(parameters for parameters, _ in counts),
        macs=sum(macs for _, macs in counts),
    )


_KNOWN: dict[str, tuple[int, int]] = {}
"""Counts of networks measured so far: many recipes train the same one."""


def _counts(model: "ModelOptions", shape: tuple[int, ...]) -> tuple[int, int]:
    import torch

    from kinema.models.complexity import complexity

    key = f"{model} {shape}"
    if key not in _KNOWN:
        with torch.device("meta"):  # drawing weights takes longer than counting them
            _KNOWN[key] = complexity(model.build(), (1, *shape))
    return _KNOWN[key]


def _measured() -> Iterator[dict[str, object]]:
    from kinema.console import progress

    with progress("measuring", len(RECIPES)) as meter:
        for name in RECIPES:
            yield {"recipe": name, **asdict(measure_size(name))}
            meter.advance()


def main() -> None:
    """Write the table."""
    from kinema.storage import write_csv

    columns = ["recipe", *(field.name for field in fields(Size))]
    write_csv(TABLE, [columns, *([row[column] for column in columns] for row in _measured())], lineterminator="\n")


if __name__ == "__main__":
    main()
