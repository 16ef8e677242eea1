"""Something-Something V1 and V2, and Jester in the layout of V1."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kinema.errors import UserError
from kinema.prepare.datasets.lists import ListOptions
from kinema.prepare.datasets.official import (
    Annotations,
    Classes,
    Listed,
    Split,
    find_file,
    find_splits,
    json_of,
    need_file,
    rows_of,
)


@dataclass(kw_only=True)
class SomethingV1(ListOptions):
    """Write lists of Something-Something V1 from something-something-v1-{labels,train,validation,test}.csv.

    Official files: https://20bn.com/datasets/something-something/v1 (V2:
    https://developer.qualcomm.com/software/ai-datasets/something-something). The dataset consists of folders of frames,
    1/00001.jpg: pass --source rawframes.

    Example: kinema prepare sthv1 --annotations sthv1/annotations --videos sthv1/20bn-something-something-v1
    --source rawframes --output sthv1/lists
    """


@dataclass(kw_only=True)
class SomethingV2(ListOptions):
    """Write lists of Something-Something V2 from its official labels.json, train.json, validation.json and test.json.

    Official files: https://developer.qualcomm.com/software/ai-datasets/something-something, labels and videos such as
    78687.webm. Files may have their older names, something-something-v2-train.json. With test-answers.csv, the test
    list has labels.

    Example: kinema prepare sthv2 --annotations sthv2/labels --videos sthv2/20bn-something-something-v2
    --output sthv2/lists
    """


@dataclass(kw_only=True)
class Jester(ListOptions):
    """Write lists of Jester from its official jester-v1-{labels,train,validation,test}.csv.

    Official files: https://developer.qualcomm.com/software/ai-datasets/jester. The dataset consists of folders of
    frames, 1/00001.jpg: pass --source rawframes.

    Example: kinema prepare jester --annotations jester/annotations --videos jester/20bn-jester-v1 --source rawframes
    --output jester/lists
    """


def read_semicolons(folder: Path, prefix: str) -> Annotations:
    """Read `PREFIX-labels.csv`, one class per line, and `PREFIX-train.csv` of `id;class` (the test file: `id`).

    Raises:
        UserError: Files are missing or invalid.
    """
    source = need_file(folder, f"{prefix}-labels.csv", "*labels.csv")
    classes = Classes([name for _, (name, *_) in rows_of(source, ";")], source)
    files = find_splits(folder, _split_files(prefix, "csv"))
    splits = {split: list(_semicolon_rows(file, classes)) for split, file in files.items()}
    return Annotations(classes=classes.names, splits=splits)


def read_sthv2(folder: Path) -> Annotations:
    """Read `labels.json` (class → index) and lists of objects with id and template, a class with [brackets].

    Raises:
        UserError: Files are missing or invalid.
    """
    source = need_file(folder, "labels.json", "*-labels.json")
    numbers = json_of(source)
    if not isinstance(numbers, dict) or sorted(map(str, numbers.values())) != sorted(map(str, range(len(numbers)))):
        raise UserError(f"{source}: expected an object of class names with the indices 0, 1, … as values")
    classes = Classes(sorted(numbers, key=lambda name: int(numbers[name])), source)
    files = find_splits(folder, _split_files("something-something-v2", "json"))
    splits = {split: [_sthv2_row(item, classes, file) for item in json_of(file)] for split, file in files.items()}
    answers = find_file(folder, "test-answers.csv", "*-test-answers.csv")
    if answers is not None:
        splits["test"] = list(_semicolon_rows(answers, classes))
    return Annotations(classes=classes.names, splits=splits)


def _split_files(prefix: str, suffix: str) -> dict[Split, tuple[str, ...]]:
    names: dict[Split, str] = {"train": "train", "val": "validation", "test": "test"}
    return {
        split: (f"{prefix}-{name}.{suffix}", f"{name}.{suffix}", f"*-{name}.{suffix}") for split, name in names.items()
    }


def _semicolon_rows(file: Path, classes: Classes) -> Iterator[Listed]:
    for line, (video, *label) in rows_of(file, ";"):
        if video in ("id", "video_id"):
            continue
        labels = (classes.index(_without_brackets(label[0]), f"{file}:{line}"),) if label and label[0] else ()
        yield Listed(names=(video,), labels=labels)


def _sthv2_row(item: Any, classes: Classes, file: Path) -> Listed:
    if not isinstance(item, dict) or "id" not in item:
        raise UserError(f"{file}: {item!r}; expected objects with id and template")
    index = partial(classes.index, where=f"{file}, id {item['id']}")
    labels = (index(_without_brackets(item["template"])),) if "template" in item else ()
    return Listed(names=(str(item["id"]),), labels=labels)


def _without_brackets(template: str) -> str:
    return re.sub(r"[\[\]]", "", template)
