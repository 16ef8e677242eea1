"""What commands import: importing torch takes longer than all else that `--help`, listings and error messages need."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from kinema.cli import COMMANDS
from kinema.recipes import RECIPES
from tests.conftest import tiny_arguments

HEAVY = (
    "av", "cv2", "fastapi", "jinja2", "matplotlib", "numba", "numpy", "onnx", "onnxruntime", "optuna", "pandas", "PIL",
    "safetensors", "scipy", "simplejpeg", "sklearn", "sympy", "tensorboard", "timm", "torch", "torchcodec",
    "torchmetrics", "torchvision", "transformers", "uvicorn", "wandb",
)  # fmt: skip

RUN_ALL = """
import contextlib, io, json, sys
heavy, calls = json.load(sys.stdin)
refused = []
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            refused.append(name)
            raise SystemExit(f"imports {name}")
sys.meta_path.insert(0, Refuse())
from kinema.cli import main
results = []
for call in calls:
    refused.clear()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(call)
    results.append({"code": code, "printed": printed.getvalue(), "refused": [*refused]})
print(json.dumps(results))
"""
"""Runs commands, to whom heavy packages cannot be imported, so that each one that tries is found."""


def all_commands() -> list[str]:
    """All commands and subcommands."""
    names = []
    for command in COMMANDS:
        module = import_module(f"kinema.cli.{command}")
        subcommands = [*getattr(module, "SUBCOMMANDS", ()), *getattr(module, "DATASETS", ())]
        names += [f"{command} {name}" for name in subcommands] if subcommands else [command]
    return names


FAULTS = {"benchmark compare": "--rounds none"}
"""Arguments that a command must refuse where an unknown option may be a recipe's."""

CALLS: dict[str, tuple[int, str]] = {
    "--help": (0, "kinema"),
    "--version": (0, "."),
    "nonsense": (2, "nonsense"),
    **{
        f"{group} --help": (0, "explains one")
        for group in sorted({name.split()[0] for name in all_commands() if " " in name})
    },
    **{f"{name} --help": (0, "usage: kinema") for name in all_commands()},
    **{f"{name} {FAULTS.get(name, '--no-such-option 1')}": (2, "") for name in all_commands()},
    "recipes": (0, "slowfast_r50_video_4x16x1_256e_kinetics400_rgb"),
    "recipes --json": (0, "gmacs"),
    "recipes nonsense": (2, "nonsense"),
    "zoo tsm": (0, "tsm_r50_video_1x1x8_50e_kinetics400_rgb"),
    "zoo --json": (0, "sha256"),
    "zoo nonsense": (2, "nonsense"),
    "train": (2, "pass a RECIPE"),
    "train tsm_r50_vide_1x1x8_50e_kinetics400_rgb": (2, "did you mean"),
    "train bsn_pgm_400x100_activitynet_feature": (2, "kinema prepare candidates"),
    "train tsm_r18_video_1x1x8_small_rgb --modle.width 8": (2, "did you mean '--model.width'?"),
    "train tsm_r18_video_1x1x8_small_rgb --schedule.epochs x": (2, "found 'x'; allowed: an integer"),
    "submit tsm_r18_video_1x1x8_small_rgb --optim.lrr 1": (2, "did you mean"),
    "tune tsm_r18_video_1x1x8_small_rgb --space a.yaml --optim.lrr 1": (2, "did you mean"),
    "benchmark train tsm_r18_video_1x1x8_small_rgb --optim.lrr 1": (2, "did you mean"),
    "benchmark data tsm_r18_video_1x1x8_small_rgb --optim.lrr 1": (2, "did you mean"),
    "inspect data videos --optim.lrr 1": (2, "did you mean"),
    "inspect data videos --recipe tsm_r18_video_1x1x8_small_rgb --data.val-fraction 2": (2, "allowed: a number"),
    "inspect data videos --recipe bmn_64x50_small_feature --data.trian 1": (2, "reads no clips"),
    "test RUN --data.vall 1": (2, "did you mean '--data.val'?"),
    "test RUN --data.test-views.crops.size x": (2, "found 'x'; allowed: an integer"),
    "test RUN --data.val videos --optimm.lr 1": (2, "no such option"),
    "calibrate RUN --data.vall 1": (2, "did you mean '--data.val'?"),
    "calibrate RUN --runtime.precision fp17": (2, "allowed: one of auto"),
    "train --config no/such.yaml": (2, "no/such.yaml"),
    "test no/such/model": (2, "does not exist"),
    "test no/such/model --help": (2, "does not exist"),
    "predict no/such/model clip.mp4": (2, "does not exist"),
    "predict zoo:nonsense clip.mp4": (2, "no published weights"),
    "predict --top 0 model clip.mp4": (2, "--top"),
    "localize no/such/model long.mp4": (2, "does not exist"),
    "export no/such/model": (2, "does not exist"),
    "calibrate no/such/model": (2, "does not exist"),
    "serve no/such/model": (2, "does not exist"),
    "explain no/such/model clip.mp4": (2, "does not exist"),
    "benchmark data": (2, "no recipes given"),
}
"""Arguments → exit code, and a part of what is printed. RUN is the work dir of a training."""


@pytest.fixture(scope="module")
def without_torch(tiny_run: Path) -> Mapping[str, Any]:
    calls = [[str(tiny_run) if word == "RUN" else word for word in call.split()] for call in CALLS]
    process = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps([HEAVY, calls]), check=True, capture_output=True, text=True
    )
    return dict(zip(CALLS, json.loads(process.stdout), strict=True))


@pytest.mark.parametrize("call", CALLS)
def test_without_torch(call: str, without_torch: Mapping[str, Any]) -> None:
    result, (code, printed) = without_torch[call], CALLS[call]
    assert result["refused"] == []
    assert result["code"] == code
    assert printed in " ".join(result["printed"].split())


def modules_after(program: str, *arguments: object) -> set[str]:
    """The modules that a program has imported at its end."""
    ending = "\nimport json, sys\nprint(json.dumps([*sys.modules]))"
    command = [sys.executable, "-c", program + ending, *map(str, arguments)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(json.loads(ran.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def torch_alone() -> set[str]:
    return modules_after("import torch")


SOME_OF_EACH = [next(name for name in RECIPES if RECIPES[name].module == module) for module in
                dict.fromkeys(recipe.module for recipe in RECIPES.values())]  # fmt: skip

ASK_RECIPES = """
import contextlib, io, sys
from kinema.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for recipe in sys.argv[1:]:
        assert main(["train", recipe, "--help"]) == 0
        assert main(["train", recipe, "--optim.lrr", "1"]) == 2
"""


def test_options_of_recipes_import_no_more_than_torch(torch_alone: set[str]) -> None:
    """Help and error messages of every family's options."""
    added = modules_after(ASK_RECIPES, *SOME_OF_EACH) - torch_alone
    assert {name for name in added if name.partition(".")[0] in {"torch", *HEAVY} - {"numpy", "safetensors"}} == set()


PREDICT = "import sys\nfrom kinema.cli import main\nassert main(['predict', *sys.argv[1:]]) == 0"
OF_A_PREDICTION = {"av", "numpy", "PIL", "safetensors", "simplejpeg"}


def test_a_prediction_imports_at_most_twice_of_torch(tiny_run: Path, sample: Path, torch_alone: set[str]) -> None:
    clip = next(sample.glob("val/*/*.mp4"))
    modules = modules_after(PREDICT, tiny_run, clip)
    assert len(modules) <= 2 * len(torch_alone)
    added = modules - torch_alone
    assert {name for name in added if name.partition(".")[0] in {*HEAVY} - OF_A_PREDICTION} == set()


TRAIN = "import sys\nfrom kinema.cli import main\nassert main(['train', *sys.argv[1:]]) == 0"
OF_A_TRAINING = {*OF_A_PREDICTION, "matplotlib", "numba", "scipy", "tensorboard", "torch"}


def test_a_training_imports_no_library_that_it_does_not_need(
    sample: Path, torch_alone: set[str], tmp_path: Path
) -> None:
    """torchmetrics with what it imports in turn takes longer to start than torch, and 280 MiB."""
    arguments = tiny_arguments(sample, schedule__epochs="1")
    added = modules_after(TRAIN, "tsm_r18_video_1x1x8_sample_rgb", "--work-dir", tmp_path, *arguments) - torch_alone
    assert "torch._dynamo" not in added  # 0.15 GiB and a second, which torch's optimizers would load
    assert {name for name in added if name.partition(".")[0] in {*HEAVY} - OF_A_TRAINING} == set()
