"""The table of published weights, read without torch."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from kinema.errors import UserError
from kinema.tools import Source

ZOO, HUB = "zoo:", "hf:"
_SHOWN = 8
TABLE = Path(__file__).with_name("zoo.csv")


def is_published(model: str) -> bool:
    """Whether a MODEL is an address of published weights rather than a path."""
    return model.startswith((ZOO, HUB))


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights that a tool's authors have published for a network of Kinema's, a row of the table."""

    name: str
    """`RECIPE` for the best of a recipe, else `RECIPE@TOOL` or `RECIPE@TOOL-VERSION`."""
    recipe: str
    tool: Source
    """Tool whose names the weights have, as of `kinema convert --from`."""
    version: str = ""
    """What distinguishes them from other weights of the recipe by the same tool."""
    dataset: str
    """Training data, and those of the accuracy."""
    top1: float | None = None
    """Accuracy as published, as a fraction."""
    top5: float | None = None
    measure: str = ""
    """Name of another published figure: mAP, AUC."""
    figure: float | None = None
    """That figure, as a fraction."""
    views: str = ""
    """Clips and crops of a video that the figures are of."""
    classes: int = 0
    """Number of classes; 0: without a head, or a localizer."""
    class_names: str = ""
    """Where names of the classes are known from: `torchvision`, or `id2label` of the hub; empty: they are numbers."""
    parameters: int = 0
    """Number of parameters of the network."""
    licence: str = ""
    """Licence of the weights or of the repository that they are published in; empty: none is stated."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options in which the weights differ from the recipe, by dotted key."""
    url: str = ""
    """Address of the file, or `hf:ORG/NAME`."""
    sha256: str = ""
    """Its SHA-256 or the first digits of that; empty: none is published."""
    further: str = ""
    """Address of a second file of the same model."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Names of the weights of a method's stages, instead of `url`: BSN's `tem` and `pem`."""

    @property
    def accuracy(self) -> str:
        """The published figures in percent, as a text."""
        figures = {"top-1": self.top1, "top-5": self.top5, self.measure: self.figure}
        return ", ".join(f"{name} {100 * value:.2f}" for name, value in figures.items() if value is not None)

    @property
    def megabytes(self) -> float:
        """Size of the converted model, in 10⁶ bytes."""
        return 4 * self.parameters / 1e6


def read_table(path: Path = TABLE) -> dict[str, Published]:
    """Return the rows of a table by name, in its order: the best of a data set first."""
    return _read_table(path, path.stat().st_mtime_ns)


@cache
def _read_table(path: Path, _version: int) -> dict[str, Published]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["name"]: _row(row) for row in csv.DictReader(file)}


def _row(cells: Mapping[str, str]) -> Published:
    texts = (
        "name", "recipe", "tool", "version", "dataset", "measure", "views", "class_names", "licence", "url", "sha256",
        "further",
    )  # fmt: skip
    return Published(
        **{key: cells[key] for key in texts},  # type: ignore[arg-type]
        **{key: round(float(cells[key]) / 100, 6) for key in ("top1", "top5", "figure") if cells[key]},  # type: ignore[arg-type]
        **{key: int(cells[key]) for key in ("classes", "parameters") if cells[key]},  # type: ignore[arg-type]
        **{key: dict(pair.split("=", 1) for pair in cells[key].split()) for key in ("options", "parts")},  # type: ignore[arg-type]
    )


def find_published(name: str, rows: Mapping[str, Published]) -> Published:
    """Return the row called `name`.

    A recipe's twin on frames or on video files has the same weights. `RECIPE@TOOL` and `RECIPE@TOOL-VERSION` also name
    the best of a recipe, whose own name is shorter.

    Raises:
        UserError: there is none; offers the nearest names.
    """
    recipe, _, label = name.partition("@")
    of_recipe = [row for row in rows.values() if _without_source(row.recipe) == _without_source(recipe)]
    for labels in ({row.name.partition("@")[2]: row for row in of_recipe}, _full_labels(of_recipe)):
        if label in labels:
            return labels[label]
    near = [row.name for row in of_recipe] or [other for other in rows if recipe in other]
    near = near or get_close_matches(name, rows, n=3, cutoff=0.5)
    shown = "".join(f"\n  {other}" for other in near[:_SHOWN])
    offered = f"; the nearest (`kinema zoo` lists them all):{shown}" if near else "; `kinema zoo` lists them all"
    raise UserError(f"no published weights are called '{name}'{offered}")


def check_name(model: str) -> None:
    """Raise UserError if `model` is `zoo:NAME` of no published weights, see `find_published`."""
    if model.startswith(ZOO):
        find_published(model.removeprefix(ZOO), read_table())


def _full_labels(rows: Sequence[Published]) -> dict[str, Published]:
    """Return the rows of a recipe by `TOOL-VERSION`, and the first of a tool by `TOOL`."""
    best = {row.tool: row for row in reversed(rows)}
    return {**{str(tool): row for tool, row in best.items()}, **{f"{row.tool}-{row.version}": row for row in rows}}


def recipe_of(name: str, row: Published) -> str:
    """Return the recipe that `name` asks for: that of the row, or its twin on frames or on video files."""
    recipe = name.partition("@")[0]
    return recipe if _without_source(recipe) == _without_source(row.recipe) else row.recipe


def matching(pattern: str, rows: Iterable[Published]) -> Sequence[Published]:
    """Return the rows whose name, that of the recipe's twin, data set or tool fits a pattern or contains it."""
    pattern = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return [
        row
        for row in rows
        if any(
            fnmatch(text.lower(), pattern.lower())
            for text in (row.name, _without_source(row.name), row.dataset, row.tool)
        )
    ]


def _without_source(name: str) -> str:
    return name.replace("_video_", "_", 1)
