"""The documentation as a site: every page is in it, and no link or reference is broken."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.commands import ROOT


class Sources(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        source = values.get("href") if tag == "link" and values.get("rel") == "stylesheet" else values.get("src")
        if source:
            self.found.append(source.partition("?")[0])


@pytest.mark.slow
def test_the_site_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= {page.stem for page in pages}
    for page in pages:
        sources = Sources()
        sources.feed(page.read_text(encoding="utf-8"))
        for source in sources.found:
            assert "://" not in source, f"{page.name} loads {source}"
            assert (page.parent / source).exists(), f"{page.name} lacks {source}"
