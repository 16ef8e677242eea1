"""What `kinema submit` asks Slurm for, and what it refuses; no Slurm is needed here."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from kinema.cli import main
from kinema.errors import UserError
from kinema.slurm.job import _requeuing
from kinema.slurm.options import SlurmOptions
from tests.conftest import tiny_arguments
from tests.tasks.localization.planted import write_planted

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"


def script(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["submit", RECIPE, "--dry-run", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("time", "minutes"),
    # The forms that sbatch's manual lists, each worked out by hand.
    [
        ("90", 90),
        ("90:00", 90),
        ("1:30:00", 90),
        ("1:30:01", 91),
        ("2-12", 3600),
        ("2-12:30", 3630),
        ("0-00:01:00", 1),
        ("1-00:00:00", 1440),
    ],
)
def test_time_is_read_as_slurm_reads_it(time: str, minutes: int) -> None:
    assert SlurmOptions(time=time).minutes == minutes


@pytest.mark.parametrize("time", ["", "a day", "1:2:3:4", "1d", "0", "0:30", "-5"])
def test_other_times_are_refused(time: str) -> None:
    with pytest.raises(UserError, match="--time: found"):
        _ = SlurmOptions(time=time).minutes


def test_the_script_asks_for_what_is_wanted(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--nodes", "2", "--gpus-per-node", "4", "--cpus-per-task", "6", "--mem", "120G", "--time", "1-12:00:00"]
    places = ["--partition", "gpu", "--account", "vision", "--sbatch", "constraint=a100", "exclusive"]
    work_dir = tmp_path / "my run"
    text = script(
        capsys, *wanted, *places, "--grace", "300", "--work-dir", str(work_dir),
        *tiny_arguments(sample, data__batch_size="1"),
    )  # fmt: skip
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    expected = {
        "nodes": "2", "gpus-per-node": "4", "ntasks-per-node": "4", "cpus-per-task": "6", "mem": "120G", "time": "2160",
        "partition": "gpu", "account": "vision", "constraint": "a100", "exclusive": "", "requeue": "",
        "signal": "USR2@300", "open-mode": "append", "job-name": RECIPE,
    }  # fmt: skip
    assert expected.items() <= asked.items()
    assert asked["output"] == f"'{work_dir}/slurm/%j_0_log.out'"
    assert "srun" in text
    assert "--kill-on-bad-exit=1" in text
    assert not work_dir.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--optim.lrr", "0.1"],
        ["--optim.lr", "fast"],
        ["--training.init", "no/such/run"],
        ["--data.train", "no/such/folder"],
        ["--data.batch-size", "33"],
        ["--work-dir", "TINY_RUN"],
    ],
    ids=" ".join,
)
def test_faults_are_found_before_queueing_as_train_finds_them(
    arguments: list[str], sample: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [argument.replace("TINY_RUN", str(tiny_run)) for argument in arguments]
    keys = {argument for argument in arguments if argument.startswith("--")}
    tiny = [option for option in tiny_arguments(sample) if option.partition("=")[0] not in keys]
    place = [] if "--work-dir" in keys else ["--work-dir", str(tmp_path / "run")]
    said = []
    for command in (["train"], ["submit", "--gpus-per-node", "0"]):
        assert main([*command, RECIPE, *place, *arguments, *tiny]) == 2
        said.append([line for line in capsys.readouterr().err.splitlines() if " INFO " not in line])
    assert said[0] == said[1] != []


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        ("bsn_64x50_small_feature", [], ""),
        ("bsn_64x50_small_feature", ["--data.batch-size=99"], "--data.batch-size 18 or less"),
        ("bsn_64x50_small_feature", ["--pem.training.accumulate=4"], "--data.batch-size 4 or less"),
        ("bsn_64x50_small_feature", ["--data.features=no/such/folder"], "no/such/folder"),
        ("bsn_64x50_small_feature", ["--init", "TINY_RUN"], "recipes that train one network"),
        ("bsn_pgm_400x100_activitynet_feature", [], "kinema prepare candidates TEM --output"),
    ],
)
def test_stages_of_bsn(
    recipe: str, arguments: list[str], message: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {} if "pgm" in recipe else write_planted(tmp_path / "planted", videos=24)
    options = [argument.replace("TINY_RUN", str(tiny_run)) for argument in arguments]
    given = {argument.partition("=")[0] for argument in arguments}
    planted = {f"--{key.replace('_', '-')}": value for key, value in keys.items()}
    options += [f"{key}={value}" for key, value in planted.items() if key not in given]
    command = ["submit", recipe, "--dry-run", "--gpus-per-node", "0", "--work-dir", str(tmp_path / "run"), *options]
    assert main(command) == (2 if message else 0)
    printed = capsys.readouterr()
    assert message in " ".join(printed.err.split())
    assert ("srun" in printed.out) is (not message)


def test_too_few_videos_for_all_processes(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 32 videos: 2 x 5 processes with 4 each want 40.
    arguments = ["--nodes", "2", "--gpus-per-node", "5", "--work-dir", str(tmp_path), *tiny_arguments(sample)]
    assert main(["submit", RECIPE, "--dry-run", *arguments]) == 2
    assert "--data.batch-size 3 or less" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus-per-node", "4", "--tasks-per-node", "2"], "there is one process per GPU"),
        (["--time", "1", "--grace", "60"], "must be less than --time"),
        (["--gpus-per-node", "0", "--runtime.device", "cuda"], "needs a GPU"),
        (["--sbatch", "constraint a100"], "allowed: options of sbatch as name=value"),
        (["--nodes", "0"], "--nodes"),
    ],
)
def test_requests_that_make_no_sense(
    arguments: list[str], message: str, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", RECIPE, "--dry-run", "--work-dir", str(tmp_path), *arguments, *tiny_arguments(sample)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_no_slurm(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["submit", RECIPE, "--work-dir", str(tmp_path), *tiny_arguments(sample)]) == 2
    assert "there is no Slurm on this machine" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("within", [3600, 0])
def test_a_run_is_requeued_once_by_itself_or_when_it_is_too_busy(within: float) -> None:
    requeued, stopped = [], []
    before = [
        (number, signal.signal(number, lambda number, _frame, calls=calls: calls.append(number)))
        for number, calls in ((signal.SIGUSR2, requeued), (signal.SIGTERM, stopped))
    ]
    try:
        with _requeuing(within=within) as requeue:
            os.kill(os.getpid(), signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGUSR2)  # Slurm may repeat itself
            assert set(stopped) == {signal.SIGTERM}
            while within == 0 and not requeued:  # by its timer
                time.sleep(0.01)
            assert requeued == [] or within == 0
            requeue()
        assert requeued == [signal.SIGUSR2]
    finally:
        for number, handler in before:
            signal.signal(number, handler)
