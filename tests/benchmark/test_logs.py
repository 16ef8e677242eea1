"""What is read out of logs beside the times that they were written from."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinema.benchmark.logs import read_log
from kinema.cli import main
from kinema.errors import UserError
from tests.benchmark import written_logs
from tests.benchmark.written_logs import Iteration

_RANDOM = np.random.default_rng(0)
RUN = [
    Iteration(round(float(seconds), 3), round(float(data), 3))
    for seconds, data in zip(_RANDOM.uniform(0.3, 0.5, 400), _RANDOM.uniform(0, 0.1, 400), strict=True)
]
for _warming in range(50):
    RUN[_warming] = Iteration(2.0, 1.5)

PER_EPOCH = 200
WINDOWED: dict[str, Callable[[], str]] = {
    "MMAction2 0.x or MMAction": lambda: written_logs.mmaction(RUN, PER_EPOCH),
    "MMAction2 0.x (log.json)": lambda: written_logs.mmaction2_json(RUN, PER_EPOCH),
    "MMAction2 1.x": lambda: written_logs.mmengine(RUN, PER_EPOCH),
    "MMAction2 1.x (scalars.json)": lambda: written_logs.mmengine_scalars(RUN, PER_EPOCH),
}
EACH: dict[str, Callable[[], str]] = {
    "PySlowFast": lambda: written_logs.pyslowfast(RUN, PER_EPOCH),
    "Temporal-Shift-Module": lambda: written_logs.temporal_shift(RUN, PER_EPOCH),
}


def written(folder: Path, text: str) -> Path:
    file = folder / "a.log"
    file.write_text(text)
    return file


@pytest.mark.parametrize("tool", WINDOWED)
def test_lines_that_average(tool: str, tmp_path: Path) -> None:
    found = read_log(written(tmp_path, WINDOWED[tool]()))
    assert found.tool == tool
    # The line of iterations 41 to 60 holds some that warm up: it does not count either.
    assert (found.skipped, found.iters) == (60, 340)
    assert found.s_per_iter == pytest.approx(np.mean([one.seconds for one in RUN[60:]]), abs=1e-3)
    assert found.data_s_per_iter == pytest.approx(np.mean([one.data for one in RUN[60:]]), abs=1e-3)
    assert found.memory_gib == pytest.approx(8342 / 1024)
    means = np.array([one.seconds for one in RUN[60:]]).reshape(-1, 20).mean(1)
    assert found.median == pytest.approx(np.median(means), abs=1e-3)
    assert found.p95 == pytest.approx(np.percentile(np.repeat(means, 20), 95), abs=1e-3)


@pytest.mark.parametrize("tool", EACH)
def test_lines_of_single_iterations(tool: str, tmp_path: Path) -> None:
    found = read_log(written(tmp_path, EACH[tool]()))
    seconds = [one.seconds for one in RUN[50:]]
    assert (found.tool, found.skipped, found.iters) == (tool, 50, 350)
    assert (found.s_per_iter, found.median) == pytest.approx((np.mean(seconds), np.median(seconds)))
    assert found.p95 == pytest.approx(np.percentile(seconds, 95))
    assert found.data_s_per_iter == pytest.approx(np.mean([one.data for one in RUN[50:]]))


def test_pyslowfast_of_2020_has_time_diff_and_no_data_time(tmp_path: Path) -> None:
    found = read_log(written(tmp_path, written_logs.pyslowfast(RUN, PER_EPOCH, of_2020=True)))
    assert found.s_per_iter == pytest.approx(np.mean([one.seconds for one in RUN[50:]]))
    assert (found.data_s_per_iter, found.memory_gib) == (None, 8.15)


def test_every_tenth_iteration_of_pyslowfast(tmp_path: Path) -> None:
    found = read_log(written(tmp_path, written_logs.pyslowfast(RUN, PER_EPOCH, period=10)))
    assert found.s_per_iter == pytest.approx(np.mean([one.seconds for one in RUN[59::10]]))
    assert (found.skipped, found.iters) == (59, 35)


def test_an_epoch_whose_last_iterations_are_not_logged(tmp_path: Path) -> None:
    """mmcv leaves them out: 210 iterations an epoch are 10 lines of 20, and 10 iterations in no line."""
    found = read_log(written(tmp_path, written_logs.mmaction(RUN[:210] + RUN[:190], 210)), skip=205)
    kept = [*RUN[:180]]  # the second epoch's, in lines of 20
    assert (found.skipped, found.iters) == (210, 180)
    assert found.s_per_iter == pytest.approx(np.mean([one.seconds for one in kept]), abs=1e-3)


def test_a_log_that_begins_in_the_middle_of_a_run(tmp_path: Path) -> None:
    whole = written_logs.mmengine(RUN, PER_EPOCH).splitlines(keepends=True)
    found = read_log(written(tmp_path, "".join(whole[10:])), skip=50)  # from iteration 201 on
    assert (found.skipped, found.iters) == (60, 140)
    assert found.s_per_iter == pytest.approx(np.mean([one.seconds for one in RUN[260:]]), abs=1e-3)


def test_a_run_of_kinema(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "log", str(tiny_run), str(tiny_run / "metrics.jsonl"), "--skip", "4", "--json"]) == 0
    found, same = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step_time"] for row in rows if "step_time" in row][4:]
    assert found["s_per_iter"] == pytest.approx(np.mean(steps))
    assert found["p95"] == pytest.approx(np.percentile(steps, 95))
    assert (found["iters"], found["skipped"]) == (12, 4)
    assert found | {"file": ""} == same | {"file": ""}


def test_messages_of_kinema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = (
        "08:00:00 INFO frames are decoded by PyAV\n"
        "08:00:05 INFO training 40/300: epoch 0.4 loss 2.050 top-1 0.200 2.000 s/iter, of that 0.500 for data, 1 left\n"
        "08:00:10 INFO training 60/300: epoch 0.6 loss 2.010 top-1 0.200 0.150 s/iter, of that 0.010 for data, 1 left\n"
        "08:00:13 INFO training 73/300, 00:00:30 left\n"
    )
    assert main(["benchmark", "log", str(written(tmp_path, messages))]) == 0
    assert "0.150" in (told := capsys.readouterr().out)
    assert "Kinema (messages)" in told
    assert "2.000" not in told


@pytest.mark.parametrize("tool", ["BMN", "BSN"])
def test_logs_without_times_need_stamps(tool: str, tmp_path: Path) -> None:
    lines = {
        "BMN": [f"BMN training loss(epoch {epoch}): tem_loss: 1.000, pem class_loss: 0.4" for epoch in (0, 0, 1, 1)],
        "BSN": [f"Epoch-{epoch} {part} Loss: Action - 1.0" for epoch in (0, 1) for part in ("Train", "Val  ")],
    }[tool]
    with pytest.raises(UserError, match=r"prints losses once per epoch, without times.*ts"):
        read_log(written(tmp_path, "\n".join(lines)))
    stamped = [f"{stamp} {line}" for stamp, line in zip((1000.0, 1010.0, 1090.5, 1100.5), lines, strict=True)]
    found = read_log(written(tmp_path, "\n".join(stamped)), iters_per_epoch=100)
    assert (found.tool, found.iters, found.skipped) == (tool, 100, 100)
    assert found.s_per_iter == pytest.approx(80.5 / 100)


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = written(tmp_path, "hello\nworld\n")
    for arguments, said in (
        ([], "no logs given"),
        ([str(tmp_path / "none.log")], "no such file"),
        ([str(strange)], "none of its 2 lines has an iteration time; supported are logs of Kinema"),
        ([str(written(tmp_path / "..", EACH["PySlowFast"]())), "--skip", "400"], "400 iterations, of which --skip 400"),
    ):
        assert main(["benchmark", "log", *arguments]) == 2
        assert said in capsys.readouterr().err
