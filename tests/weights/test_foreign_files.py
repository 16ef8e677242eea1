"""Checkpoint files as the tools write them, with what else is in them; damaged and malicious ones."""

import argparse
import builtins
import gzip
import json
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from kinema.errors import UserError
from kinema.models.foreign import foreign_names, foreign_state_dict
from kinema.tools import Source
from kinema.weights.foreign_files import read_foreign_weights, tools_of
from tests.models import parity
from tests.models.families import LOCALIZERS, RECOGNIZERS, small_options


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"meta": {"epoch": 3}, "state_dict": OrderedDict(weights)},
        lambda weights: {"epoch": 3, "model_state": weights, "optimizer_state": {"state": {}}, "cfg": "A: 1\n"},
        lambda weights: {"model": weights, "epoch": 3},
        lambda weights: {"state_dict": {f"module.{key}": value for key, value in weights.items()}},
        lambda weights: {"state_dict": {key: nn.Parameter(value) for key, value in weights.items()}},
        lambda weights: {"model_state_dict": weights, "optimizer_state_dict": {}},
        lambda weights: {"net": weights, "acc": 0.5},
        lambda weights: {"model": weights, "args": argparse.Namespace(lr=0.1, path=Path("a"), name=None)},
        lambda weights: {"state_dict": {f"model.{key}": value for key, value in weights.items()}},
        lambda weights: {"model": {f"module._orig_mod.{key}": value for key, value in weights.items()}},
        lambda weights: {"model": {key.replace(".", "._orig_mod.", 1): value for key, value in weights.items()}},
        lambda weights: {"model_ema": {"n_averaged": torch.tensor(5), **{f"module.{k}": weights[k] for k in weights}}},
    ],
)
def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, wrap: Callable[[Any], object], zipped: bool) -> None:
    weights = {"backbone.conv1.weight": torch.randn(2, 3), "module_x.bias": torch.randn(2)}
    torch.save(wrap(weights), tmp_path / "a.pth.tar", _use_new_zipfile_serialization=zipped)
    found = read_foreign_weights(tmp_path / "a.pth.tar")
    assert list(found) == list(weights)
    assert all(torch.equal(found[key], weights[key]) and not found[key].requires_grad for key in weights)


@pytest.fixture
def mmengine(monkeypatch: pytest.MonkeyPatch) -> type:
    """MMEngine's class as far as pickling goes: its state holds arrays and its own methods by name."""

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.array([0.5, 0.25])
            self._count_history = np.array([1, 1])

        def __getstate__(self) -> dict[str, object]:
            return vars(self) | {"statistics_methods": {"mean": HistoryBuffer.mean}}

        def mean(self) -> float:
            return 0.0

    module = types.ModuleType("mmengine.logging.history_buffer")
    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    HistoryBuffer.mean.__module__, HistoryBuffer.mean.__qualname__ = module.__name__, "HistoryBuffer.mean"
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return HistoryBuffer


@pytest.mark.parametrize("numpy_name", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_mmengines_records_are_left_aside(
    tmp_path: Path, mmengine: type, monkeypatch: pytest.MonkeyPatch, numpy_name: bytes
) -> None:
    content = {
        "meta": {"epoch": 1, "best": np.float32(0.5)},
        "state_dict": {"backbone.conv1.conv.weight": torch.ones(2)},
        "message_hub": {
            "log_scalars": {"train/loss": mmengine()},
            "runtime_info": {"a": np.float64(1), "b": np.int64(2)},
        },
    }
    path = tmp_path / "epoch_1.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert b"HistoryBuffer" in data
    path.write_bytes(data.replace(b"numpy._core.multiarray", numpy_name))  # what numpy 1 calls it
    for name in [name for name in sys.modules if name.startswith("mmengine")]:
        monkeypatch.delitem(sys.modules, name)
    assert read_foreign_weights(path)["backbone.conv1.conv.weight"].tolist() == [1, 1]
    assert not any(name.startswith("mmengine") for name in sys.modules)


class Calls:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", ["os.system", "builtins.exec", "builtins.eval", "shutil.rmtree", "numpy.save"])
def test_a_pickle_that_runs_something_is_refused_and_not_run(tmp_path: Path, function: str, zipped: bool) -> None:
    mark = tmp_path / "mark"
    mark.mkdir()
    module, name = function.split(".")
    arguments = {
        "os.system": (f"rmdir {mark}",),
        "builtins.exec": (f"import os; os.rmdir({str(mark)!r})",),
        "builtins.eval": (f"__import__('os').rmdir({str(mark)!r})",),
        "shutil.rmtree": (str(mark),),
        "numpy.save": (str(mark / "x"), 1),
    }
    call = Calls(getattr(__import__(module), name), *arguments[function])
    path = tmp_path / "model.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": call}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=rf"model\.pth is refused, and nothing in it was run: .* {name}|\.{name}"):
        read_foreign_weights(path)
    assert mark.is_dir()
    assert not list(mark.iterdir())
    if function != "numpy.save":
        pickle.loads(pickle.dumps(call))  # which is what would have happened
        assert not mark.exists()


def test_names_that_are_let_pass_do_nothing(tmp_path: Path) -> None:
    """`getattr` in a checkpoint reaches nothing: what it stands for here throws its arguments away."""
    path = tmp_path / "model.pth"
    reach = Calls(builtins.getattr, torch.Tensor, "numpy")
    torch.save({"a": torch.zeros(1), "state_dict": {"a": torch.ones(1)}, "x": [reach, np.dtype("f8")]}, path)
    assert read_foreign_weights(path)["a"].item() == 1
    assert torch.Tensor.numpy is torch.Tensor.numpy
    with pytest.raises(pickle.UnpicklingError):  # and they are let pass here only
        torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "holds nothing; expected a state dict"),
        ([1, 2], "holds a list; expected a state dict"),
        (torch.zeros(2), "holds a Tensor; expected a state dict"),
        (
            {"epoch": 3, "lr": 0.1, "weights": {"a": torch.zeros(1)}},
            r"of 3 entries 3 are not tensors \(epoch, lr, weights\)",
        ),
        ({"state_dict": {"a": torch.zeros(1), 5: torch.zeros(1)}}, r"of 2 entries 1 are not tensors \(5\)"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=rf"a\.pth holds .*{said.removeprefix('holds ')}"):
        read_foreign_weights(tmp_path / "a.pth")


def test_a_path_without_a_file_is_refused(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "none.pth", "does not exist")):
        with pytest.raises(UserError, match=said):
            read_foreign_weights(path)


@example(zipped=True, cut=1.0, places=[0.75], byte=128)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    zipped=st.booleans(),
    cut=st.floats(0, 1),
    places=st.lists(st.floats(0, 0.999), max_size=3),
    byte=st.integers(0, 255),
)
def test_damaged_files_are_users_faults(
    tmp_path: Path, zipped: bool, cut: float, places: list[float], byte: int
) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"a": torch.ones(3)}}, path, _use_new_zipfile_serialization=zipped)
    data = bytearray(path.read_bytes())
    for place in places:
        data[int(place * len(data))] = byte
    path.write_bytes(data[: int(cut * len(data))])
    try:
        read_foreign_weights(path)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"module.a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert read_foreign_weights(tmp_path / "a.safetensors")["a"].tolist() == [1, 1]


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights.pth", b"x")


class Scripted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("<!DOCTYPE html>\n<html>Sign in</html>"), "is an HTML page"),
        (lambda path: path.write_text("\n  <html>"), "is an HTML page"),
        (lambda path: path.write_text("<?xml version='1.0'?><Error><Code>AccessDenied"), "is an XML document"),
        (lambda path: path.write_bytes(gzip.compress(b"weights")), "is compressed with gzip"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid 1\n"),
            "is a pointer of Git LFS",
        ),
        (archive, "is a ZIP archive without a checkpoint"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "is a pickle of another kind"),
        (lambda path: torch.jit.script(Scripted()).save(path), "is a TorchScript program"),
        (lambda path: path.write_bytes((20).to_bytes(8, "little") + b'{"a": 1'), "is damaged"),
    ],
)
def test_what_is_no_checkpoint_is_named_in_one_line(tmp_path: Path, write: Callable[[Path], object], said: str) -> None:
    path = tmp_path / "model.pth"
    write(path)
    with pytest.raises(UserError, match=rf"model\.pth {said}") as error:
        read_foreign_weights(path)
    assert "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)


def tools_and_keys() -> Iterator[Any]:
    """Keys of each family as each tool has them, and those that `benchmarks/foreign_numbers` recorded."""
    with torch.device("meta"):
        for name in (*RECOGNIZERS, *LOCALIZERS):
            model = small_options(name).build()
            for source in get_args(Source):
                if source != "timm" and model.foreign(source):
                    yield pytest.param(source, [*foreign_state_dict(model, source=source)], id=f"{source}-{name}")
    for source in ("mmaction2", "mmaction2_0x", "pyslowfast", "torchvision", "tsm"):
        file = Path(__file__).parents[1] / "models" / "foreign_numbers" / f"{source}.json"
        for name, shapes in json.loads(file.read_text())["keys"].items():
            yield pytest.param(source.partition("_")[0], [*parity.expanded(shapes)], id=f"{source}-{name}")


@pytest.mark.parametrize(("source", "keys"), list(tools_and_keys()))
def test_the_keys_of_each_tool_are_recognized_as_its_own(source: Source, keys: list[str]) -> None:
    assert next(iter(tools_of(dict.fromkeys(keys, torch.zeros(1))))) == source
    assert all(source in tools_of({key: torch.zeros(1)}) for key in keys)


@pytest.mark.parametrize("source", ["videomae", "timesformer", "vjepa2"])
def test_the_keys_of_a_transformer_without_its_head_are_recognized(source: Source) -> None:
    model = small_options(source).build()
    keys = [name for key, name in foreign_names(model, source).items() if not key.startswith(("fc.", "neck."))]
    assert next(iter(tools_of(dict.fromkeys(keys, torch.zeros(1))))) == source
