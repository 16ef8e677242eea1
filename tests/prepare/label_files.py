"""Files of annotation tools for tests, and what is made of them."""

import csv
import json
from pathlib import Path
from typing import Any

from kinema.prepare.labels.command import prepare_labels
from kinema.prepare.labels.options import LabelsOptions

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>5</id><name>first</name><size>60</size><mode>interpolation</mode><start_frame>0</start_frame>
    <stop_frame>59</stop_frame><frame_filter>{filter}</frame_filter><source>match.mp4</source></task>
    <dumped>2026-01-01</dumped></meta>
  {content}
</annotations>
"""
"""A project of CVAT."""


def convert(folder: Path, name: str, content: object, tool: Any, **options: Any) -> list[list[str]]:
    """The rows of the list that is written for a file of a tool."""
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    prepare_labels(LabelsOptions(files=(file,), tool=tool, output=folder / "list.csv", **options))
    with (folder / "list.csv").open(newline="") as lines:
        return list(csv.reader(lines))
