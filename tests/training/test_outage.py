"""A training whose storage fails: it waits, or saves itself and is resumed; in the end the same bits as undisturbed."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kinema.api import train
from kinema.cli import main
from kinema.training import InterruptedRun
from kinema.training.parallel import distributed
from tests.conftest import tiny_arguments, tiny_config
from tests.storage.servers import WebProcess
from tests.training.test_resume import rows

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"
ACCUMULATE = {"data__batch_size": "2", "training__accumulate": "2"}


@pytest.fixture(scope="module")
def undisturbed(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training in steps of two batches, from the local disk."""
    work_dir = tmp_path_factory.mktemp("undisturbed")
    train(tiny_config(sample, **ACCUMULATE), work_dir=work_dir)
    return work_dir


def places(server: WebProcess, **options: str) -> dict[str, str]:
    return {"data__train": f"{server.url}/train", "data__val": f"{server.url}/val", **ACCUMULATE, **options}


def when(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Act in a thread, once the condition holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def trained_for(work_dir: Path, steps: int) -> Callable[[], bool]:
    file = work_dir / "metrics.jsonl"
    return lambda: file.exists() and len(file.read_text().splitlines()) >= steps


def assert_same(work_dir: Path, reference: Path) -> None:
    for checkpoint in ("last", "best"):
        for file in (reference / "checkpoints" / checkpoint).glob("*.safetensors"):
            assert (work_dir / "checkpoints" / checkpoint / file.name).read_bytes() == file.read_bytes(), file
    assert rows(work_dir) == rows(reference)
    assert not (work_dir / "bad_files.csv").exists()


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_a_server_that_dies_and_comes_back_changes_nothing(
    undisturbed: Path, sample: Path, said: Path, tmp_path: Path, workers: str
) -> None:
    work_dir = tmp_path / "run"
    with WebProcess(sample) as server:
        when(trained_for(work_dir, 3), server.kill)
        back = when(lambda: "does not answer" in said.read_text(), server.start)
        train(tiny_config(sample, **places(server, data__workers=workers)), work_dir=work_dir)
        back.join()
    assert_same(work_dir, undisturbed)


@pytest.mark.parametrize("steps", [3, pytest.param(9, marks=pytest.mark.slow)])  # 9: after the first validation
def test_a_server_that_does_not_come_back_ends_the_run_which_can_be_resumed(
    undisturbed: Path, sample: Path, tmp_path: Path, steps: int
) -> None:
    work_dir = tmp_path / "run"
    with WebProcess(sample) as server:
        when(trained_for(work_dir, steps), server.kill)
        with pytest.raises(InterruptedRun, match=r"for 0.1 s.*; stopped after step .*--resume continues"):
            train(tiny_config(sample, **places(server, data__storage__patience="0.1")), work_dir=work_dir)
        assert len(rows(work_dir)) >= steps
        assert not trained_for(work_dir, len(rows(undisturbed)))()
        server.start()
        train(tiny_config(sample, **places(server)), work_dir=work_dir, resume=True)
    assert_same(work_dir, undisturbed)


def test_sigterm_ends_a_wait_for_storage_and_the_run_can_be_resumed(
    undisturbed: Path, sample: Path, said: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patience would last for the test's time limit."""
    monkeypatch.setattr(distributed, "_ORDINARY_WAIT", 0.0)
    work_dir = tmp_path / "run"
    with WebProcess(sample) as server:
        when(trained_for(work_dir, 3), server.kill)
        when(lambda: "does not answer" in said.read_text(), lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(InterruptedRun, match=r"while waiting for data; stopped after step .*--resume") as stopped:
            train(tiny_config(sample, **places(server)), work_dir=work_dir)
        assert stopped.value.exit_code == 75
        server.start()
        train(tiny_config(sample, **places(server)), work_dir=work_dir, resume=True)
    assert_same(work_dir, undisturbed)


def test_the_command_ends_with_75(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with WebProcess(sample) as server:
        server.kill()
        options = tiny_arguments(sample, **places(server, data__storage__patience="0"))
        assert main(["train", RECIPE, "--work-dir", str(tmp_path / "run"), *options]) == 75
        server.start()
    found = capsys.readouterr().err
    assert "did not answer" in found
    assert "Traceback" not in found
