"""A device that runs out of memory: one message that says what would fit."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kinema.cli import main
from kinema.data.samples import Batch
from kinema.errors import UserError
from kinema.runtime.processes import Process
from kinema.tasks.recognition.task import RecognitionTask
from kinema.training.out_of_memory import MARGIN, Footprint, explained, is_out_of_memory
from kinema.training.run import Run, set_up
from kinema.training.task import Loss
from tests.conftest import tiny_arguments, tiny_config

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"


class SavedTensors:
    """Memory as the tensors that autograd keeps for the backward pass; `size` bytes in all."""

    def __init__(self, size: float) -> None:
        self._size = size

    def peak(self, act: Callable[[], object]) -> int:
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            act()
        return sum(kept.values())

    def available(self) -> int:
        return int(self._size)


@pytest.fixture
def run(sample: Path, tmp_path: Path) -> Run:
    config = tiny_config(sample, runtime__kernels="false")
    process = Process(device=torch.device("cpu"))
    return set_up(config, config.task.open(config, process), process, work_dir=tmp_path, resume=False)


def advice(run: Run, batch: Batch[Tensor], gauge: SavedTensors | None) -> str:
    with pytest.raises(UserError) as caught, explained(run, batch, gauge=gauge):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return str(caught.value)


def test_what_fits_is_estimated_from_the_memory_of_one_and_two_clips(run: Run) -> None:
    batch = next(iter(run.batches))
    gauge = SavedTensors(0)
    state = {name: value.clone() for name, value in run.state.model.named_parameters()}

    def step(clips: int) -> Callable[[], object]:
        part = Batch(batch.inputs[:clips], batch.targets[:clips], batch.rows[:clips])
        return lambda: run.task.loss(run.state.model, part).total.backward()

    three, four = (gauge.peak(step(clips)) for clips in (3, 4))
    momenta = 2 * sum(value.numel() * 4 for value in state.values())  # AdamW's, which the first step allocates
    message = advice(run, batch, SavedTensors((three + (four - three) / 2) / MARGIN + momenta))
    assert "is out of memory at --data.batch-size 4" in message
    assert "so that 3 fit." in message
    assert "  --data.batch-size 2 --training.accumulate 2: the same total batch" in message
    assert re.search(r"--model.gradient-checkpointing true: 0.00 GiB per clip, so that \d+ fit", message)
    assert "--runtime.precision bf16: " in message
    assert "\n" not in message.splitlines()[0]
    for name, value in run.state.model.named_parameters():
        assert torch.equal(value, state[name])


def test_without_figures_the_options_are_named(run: Run) -> None:
    message = advice(run, next(iter(run.batches)), None)
    assert "Tried to allocate 2.00 GiB" in message
    assert "pass --data.batch-size 2, --model.gradient-checkpointing true, --runtime.precision bf16" in message


def test_nothing_is_advised_that_is_set_already(run: Run) -> None:
    run.config = replace(run.config, runtime=replace(run.config.runtime, precision="bf16"))
    assert "bf16" not in advice(run, next(iter(run.batches)), None)


def test_when_not_even_one_clip_fits(run: Run) -> None:
    message = advice(run, next(iter(run.batches)), SavedTensors(0))
    assert "so that 0 fit" in message
    assert "--data.batch-size 4" in message
    assert "--training.accumulate" not in message


def test_other_errors_pass() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_clips_that_fit() -> None:
    assert Footprint(base=10, clip=3).fitting(19.5) == 3
    assert Footprint(base=10, clip=3).fitting(5) == 0


@pytest.mark.parametrize("during", ["training", "validation"])
def test_a_training_ends_with_one_message(
    during: str, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = RecognitionTask.loss

    def out_of_memory(task: RecognitionTask, network: torch.nn.Module, batch: Batch[Tensor]) -> Loss:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss(task, network, batch)

    def no_validation(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    if during == "training":
        monkeypatch.setattr(RecognitionTask, "loss", out_of_memory)
    else:
        monkeypatch.setattr(RecognitionTask, "validate", no_validation)
    assert main(["train", RECIPE, "--work-dir", str(tmp_path / "run"), *tiny_arguments(sample)]) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    option = "--data.batch-size 4" if during == "training" else "pass a smaller --data.val-batch-size than 32"
    assert option in errors
