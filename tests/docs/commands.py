"""The commands that README and docs tell people to type."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))

_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)
_INLINE = re.compile(r"`(kinema [^`]+)`")
_CALL = re.compile(r"(?:^|\s)(?:-m )?kinema (?=[a-z])")
_PLACEHOLDERS = {
    "RECIPE": "tsm_r18_video_1x1x8_small_rgb",
    "FLOW": "flow",
    "N": "2",
}


@dataclass(frozen=True)
class Line:
    """One command: its arguments without `kinema`."""

    page: str
    text: str

    @property
    def arguments(self) -> list[str]:
        """With names where the page has placeholders."""
        text = re.sub(r"\[[^]]*\]", "", self.text).replace("\\|", "|")
        words = shlex.split(text.replace("…", " "), comments=True)
        words = words[: words.index("|")] if "|" in words else words  # another program reads the output
        return [_PLACEHOLDERS.get(word, word) for word in words]


def lines_of(page: str) -> Iterator[Line]:
    """Commands of the blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in (*_FENCED.findall(text), *_INDENTED.findall(text)):
        for line in block.replace("\\\n", " ").splitlines():
            if call := _CALL.search(line):
                text = line[call.end() :].partition(" | ")[0]
                yield Line(page, text.strip().removesuffix("&").strip())


def python_files(page: str) -> dict[str, str]:
    """Python blocks of a page that begin with the name of their file, `# my_file.py`."""
    blocks = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return dict(blocks)


def inline_of(page: str) -> Iterator[Line]:
    """Commands within sentences and tables of a page, those that are more than a name."""
    text = _FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for found in _INLINE.findall(text):
        yield Line(page, " ".join(found.split()).removeprefix("kinema "))
