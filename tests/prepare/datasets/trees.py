"""Small trees of files for these tests."""

import csv
from pathlib import Path


def write_files(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write `files`, path below `folder` → content; returns `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def empty_files(folder: Path, *paths: str) -> Path:
    """Make empty files; returns `folder`."""
    return write_files(folder, dict.fromkeys(paths, b""))


def table(file: Path) -> list[list[str]]:
    """The rows of a CSV as Python's own reader sees them."""
    with file.open(newline="") as text:
        return list(csv.reader(text))
