"""Diving48: JSON lists of clips and a vocabulary."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.errors import UserError
from kinema.prepare.datasets.lists import ListOptions
from kinema.prepare.datasets.official import Annotations, Classes, Listed, find_splits, json_of, need_file


@dataclass(kw_only=True)
class Diving48(ListOptions):
    """Write lists of Diving48 from its official Diving48_vocab.json, Diving48_V2_train.json and Diving48_V2_test.json.

    Official files: http://www.svcl.ucsd.edu/projects/resound/dataset.html, with videos such as
    -mmq0PT-u8k_00155.mp4. Without the files of version 2, which corrects many labels, those of version 1
    (Diving48_train.json) are used.

    Example: kinema prepare diving48 --annotations diving48/annotations --videos diving48/rgb --output diving48/lists
    """


def read_diving48(folder: Path) -> Annotations:
    """Read objects with vid_name and label; class names join their four attributes, `Back+15som+05Twis+FREE`.

    Raises:
        UserError: Files are missing or invalid.
    """
    source = need_file(folder, "diving48_vocab.json")
    vocabulary = json_of(source)
    if not isinstance(vocabulary, list):
        raise UserError(f"{source}: expected a list with an entry for each class")
    classes = Classes([name if isinstance(name, str) else "+".join(name) for name in vocabulary], source)
    files = find_splits(
        folder,
        {
            "train": ("diving48_v2_train.json", "diving48_train.json"),
            "test": ("diving48_v2_test.json", "diving48_test.json"),
        },
    )
    splits = {split: [_clip(item, classes, file) for item in json_of(file)] for split, file in files.items()}
    return Annotations(classes=classes.names, splits=splits)


def _clip(item: Any, classes: Classes, file: Path) -> Listed:
    if not isinstance(item, dict) or not {"vid_name", "label"} <= set(item):
        raise UserError(f"{file}: {item!r}; expected objects with vid_name and label")
    label = classes.number(item["label"], f"{file}, {item['vid_name']}")
    return Listed(names=(item["vid_name"],), labels=(label,))
