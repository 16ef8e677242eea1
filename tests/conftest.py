"""Fixtures that several test modules use."""

import logging
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from kinema.api import train
from kinema.prepare.drawn.sample import prepare_sample
from kinema.prepare.options import SampleOptions
from kinema.recipes import config_of
from kinema.tasks.recognition.options import RecognitionConfig
from kinema.training import TrainConfig
from tests.storage.servers import s3_folder, web_server

# The models of these tests are too small for several threads: they would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("kinema", deadline=None)
hypothesis.settings.load_profile("kinema")

# A shell without job control starts what it puts into the background with Ctrl-C ignored, and so would be the
# processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what pytest-xdist cannot send: messages about files whose names are not UTF-8."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and real clips that stands beside a developer's checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no ../shared folder beside this checkout: reference numbers and real clips are not at hand")
    return folder


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small drawn dataset: 8 classes, 4 training and 2 validation clips of each."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    prepare_sample(SampleOptions(folder=folder, train_per_class=4, val_per_class=2, workers=2))
    return folder


@pytest.fixture(scope="session")
def tiny_run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a finished training of a very small model on `sample`."""
    work_dir = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_config(sample), work_dir=work_dir)
    return work_dir


TINY = {
    "model.width": "8",
    "data.train_clip.crop.size": "32",
    "data.val_views.crops.size": "32",
    "data.val_views.crops.short_side": "32",
    "data.test_views.crops.size": "32",
    "data.test_views.crops.short_side": "32",
    "data.batch_size": "4",
    "data.workers": "0",
    "training.val_every": "1",
    "schedule.epochs": "2",
    "schedule.warmup_epochs": "0",
    "training.log_every": "1",
}
"""Options that make the sample recipe a matter of seconds."""


def tiny_config(sample: Path, **options: str) -> RecognitionConfig[Any]:
    """A training on `sample` that takes seconds; `options` are dotted keys with `__` for the dot."""
    changes = {key.replace("__", "."): value for key, value in options.items()}
    places = {"data.train": str(sample / "train"), "data.val": str(sample / "val")}
    config = config_of("tsm_r18_video_1x1x8_sample_rgb", TINY | places | changes)
    assert isinstance(config, TrainConfig)
    return config


def tiny_arguments(sample: Path, **options: str) -> list[str]:
    """The same for the command line."""
    changes = {key.replace("__", "."): value for key, value in options.items()}
    places = {"data.train": str(sample / "train"), "data.val": str(sample / "val")}
    return [f"--{key.replace('_', '-')}={value}" for key, value in (TINY | places | changes).items()]


@pytest.fixture(scope="module", params=["s3", "http"])
def url(request: pytest.FixtureRequest, tree: Path) -> Iterator[str]:
    """Where the files of `tree`, a fixture of the module, lie: in object storage, or at a web server."""
    if request.param == "http":
        with web_server(tree) as web:
            yield web.url
        return
    with s3_folder(tree, "some/tree") as url:
        yield url


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Path]:
    """The file that this process and its workers log to."""
    handler, logger = logging.FileHandler(tmp_path / "said.txt"), logging.getLogger("kinema")
    logger.addHandler(handler)
    yield tmp_path / "said.txt"
    logger.removeHandler(handler)
    handler.close()


@pytest.fixture(autouse=True)
def quiet_logging() -> Iterator[None]:
    """A command sends messages to the stderr it finds, in a test another one each time, and some only errors."""
    yield
    logger = logging.getLogger("kinema")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.INFO)
