"""A server that tests share, and clips to send."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.server import Server, serving


@pytest.fixture(scope="session")
def server(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_run, tmp_path_factory.mktemp("temporary"), "--max-mib", "2", "--max-seconds", "20") as running:
        yield running
        assert not running.files()
    assert not [path for path in running.uploads.iterdir() if path.is_dir()]


@pytest.fixture(scope="session")
def clips(sample: Path) -> list[Path]:
    return sorted(sample.glob("val/*/*.mp4"))
