"""Options that a measurement decides: which candidate is taken, and that a resumed run keeps it."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from kinema.cli import main
from kinema.config import read
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import process_group
from kinema.training.task import Loss
from kinema.training.tuning import choose, decide, decided_before, undecided
from tests.conftest import tiny_arguments
from tests.storage.servers import free_port

AUTO = RuntimeOptions(precision="auto", channels_last="auto", compile="auto")


def test_each_option_is_decided_with_those_before_it() -> None:
    seconds = {(True, "fp32"): 1.0, (False, "fp32"): 0.8, (False, "bf16"): 0.4, (True, "bf16"): 0.1}
    asked: list[RuntimeOptions] = []

    def step_time(options: RuntimeOptions) -> float:
        asked.append(options)
        return seconds[options.channels_last is True, options.precision] * (0.99 if options.compile else 1.0)

    chosen = choose(AUTO, step_time)
    assert (chosen.channels_last, chosen.precision) == (False, "bf16")
    assert chosen.compile is False  # 1 % may be chance
    assert len(asked) == 6
    assert not any(undecided(options) for options in asked)


def test_what_the_user_decided_is_not_measured() -> None:
    options = RuntimeOptions(precision="bf16", channels_last=False, compile=True)
    assert choose(options, lambda _: pytest.fail("measured")) == options


def test_a_resumed_run_keeps_the_choices_it_began_with(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("recipe: x\nruntime:\n  precision: bf16\n  channels_last: false\n  compile: true\n")
    options = RuntimeOptions(precision="auto", channels_last="auto", compile=False)
    assert decided_before(options, file) == RuntimeOptions(precision="bf16", channels_last=False, compile=False)


class SlowTask:
    """A model that takes longer in bf16 in the first process, and in fp32 in the second."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def empty_model(self) -> nn.Module:
        return nn.Linear(2, 2)

    def loss(self, network: nn.Module, batch: torch.Tensor) -> Loss:
        if torch.is_autocast_enabled("cpu") == (self.rank == 0):
            time.sleep(0.2)
        return Loss(network(batch).float().sum(), {})


def settle_as(rank: int, port: int, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    options = RuntimeOptions(device="cpu", precision="auto", channels_last="auto")
    with process_group(options) as process:
        options = decide(options, SlowTask(rank), process, lambda: torch.ones(1, 2))  # type: ignore[arg-type]
    (folder / str(rank)).write_text(f"{options.precision} {options.channels_last}")


def test_all_processes_take_what_is_fastest_in_the_first(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(settle_as, args=(free_port(), tmp_path), nprocs=2)
    first, second = ((tmp_path / str(rank)).read_text() for rank in (0, 1))
    assert first.startswith("fp32")
    assert second == first


def test_a_run_writes_what_it_took_and_resumes_with_it(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = tiny_arguments(sample, runtime__precision="auto", runtime__channels_last="auto")
    command = ["train", "tsm_r18_video_1x1x8_sample_rgb", "--work-dir", str(tmp_path / "run"), *options]
    assert main(command) == 0
    assert "runtime.precision: fp32 0." in capsys.readouterr().err
    began = read(tmp_path / "run" / "config.yaml")[1]
    assert began["runtime.precision"] in ("fp32", "bf16")
    assert main([*command, "--resume"]) == 0
    assert "runtime.precision: fp32 0." not in capsys.readouterr().err
    assert read(tmp_path / "run" / "config.yaml")[1] == began
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] > 0
