from pathlib import Path

import pytest

from tests.data.noise import write_noise


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos of random pixels; see `write_noise`."""
    root = tmp_path_factory.mktemp("noise")
    write_noise(root)
    return root
