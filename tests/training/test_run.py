"""What a run keeps of how it was begun."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kinema.api import train
from kinema.config import read
from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions, pick_device, set_gpu_arithmetic
from kinema.runtime.processes import Process
from tests.conftest import tiny_config


def test_a_finished_run_answers_again_with_its_last_metrics(sample: Path, tiny_run: Path, tmp_path: Path) -> None:
    work_dir = shutil.copytree(tiny_run, tmp_path / "run")
    before = (work_dir / "metrics.jsonl").read_text()
    found = train(tiny_config(sample), work_dir=work_dir, resume=True)
    assert set(found) == {"loss", "top1", "top5", "mean_class", "videos", "bad_files"}
    assert f'"top1": {found["top1"]}' in before.splitlines()[-1]
    assert (work_dir / "metrics.jsonl").read_text() == before


def test_the_model_to_start_from_stands_in_the_config(sample: Path, tiny_run: Path, tmp_path: Path) -> None:
    config = tiny_config(sample, schedule__epochs="1")
    train(config, work_dir=tmp_path / "run", init=tiny_run)
    assert read(tmp_path / "run" / "config.yaml")[1]["training.init"] == str(tiny_run)
    assert config.training.init == ""


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({"model__shift_div": "8"}, "to start from the same network: --model.shift-div 4\n"),
        ({"model__dropout": "0.9"}, ""),  # changes nothing of what given weights compute
        ({}, ""),
    ],
)
def test_model_options_other_than_those_of_the_weights_are_named(
    sample: Path, tiny_run: Path, said: Path, options: dict[str, str], warning: str
) -> None:
    config = tiny_config(sample, training__init=str(tiny_run), **options)
    model = config.task.open(config, Process(device=torch.device("cpu"))).first_model()
    trained = load_file(tiny_run / "checkpoints" / "best" / "model.safetensors")
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.state_dict().items())
    messages = said.read_text()
    assert warning in messages
    assert ("trained with other model options" in messages) == bool(warning)


@pytest.mark.parametrize("options", [{"precision": "fp16"}, {"compile": "graphs"}])
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_what_only_gpus_have_is_refused_without_one(
    options: dict[str, str], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"{next(iter(options.values()))} needs a GPU; pass"):
        pick_device(RuntimeOptions(device=device, **options))  # type: ignore[arg-type]


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says of a machine with two GPUs stands in for one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="start at most 2 processes"):
        pick_device(RuntimeOptions(), 2)


@pytest.fixture
def arithmetic() -> Iterator[None]:
    """Restores torch's own settings."""
    benchmark = torch.backends.cudnn.benchmark
    yield
    set_gpu_arithmetic(RuntimeOptions(tf32=False))
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = benchmark


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_the_same_by_both_of_torchs_interfaces(tf32: bool) -> None:
    """torch.compile reads the older one, and fails where they differ."""
    set_gpu_arithmetic(RuntimeOptions(tf32=tf32))
    new = [torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision]
    assert [precision == "tf32" for precision in new] == [tf32, tf32]
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")


@pytest.mark.usefixtures("arithmetic")
def test_deterministic_algorithms_are_not_chosen_by_time() -> None:
    set_gpu_arithmetic(RuntimeOptions())
    assert torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()
    set_gpu_arithmetic(RuntimeOptions(deterministic=True))
    assert not torch.backends.cudnn.benchmark
    assert torch.are_deterministic_algorithms_enabled()
