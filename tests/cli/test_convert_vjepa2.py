"""`kinema convert` of V-JEPA 2's encoders and attentive probes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kinema.cli import main
from kinema.models.foreign import foreign_state_dict
from kinema.models.vjepa2 import VJEPA2, VJEPA2Options
from kinema.tasks.models import load_model

RECIPE = '''
"""A small network."""
from kinema.models.vjepa2 import VJEPA2Options
from kinema.recipes.vjepa2 import vjepa2_l_16x4_small

def tiny():
    config = vjepa2_l_16x4_small()
    config.model = VJEPA2Options(size=128, width=48, depth=2, heads=2, frozen_stages=2)
    return config
'''


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "recipes.py").write_text(RECIPE)
    return f"{tmp_path / 'recipes.py'}:tiny"


@pytest.fixture(scope="module")
def given() -> VJEPA2:
    torch.manual_seed(0)
    return VJEPA2Options(size=128, width=48, depth=2, heads=2, num_classes=3).build().eval()


@pytest.fixture
def files(tmp_path: Path, given: VJEPA2) -> tuple[Path, Path]:
    """Checkpoints of the authors' code: of pre-training, and of a probe."""
    weights = foreign_state_dict(given, source="vjepa2")
    encoder = {f"module.backbone.{key}": value for key, value in weights.items() if not is_of_probe(key)}
    online = {key: torch.zeros_like(value) for key, value in encoder.items()}
    predictor = {"module.backbone.predictor_norm.bias": torch.zeros(4)}
    pretrained, probe = tmp_path / "vitl.pt", tmp_path / "probe.pt"
    torch.save(
        {"encoder": online, "predictor": predictor, "opt": {}, "target_encoder": encoder, "epoch": 1}, pretrained
    )
    trained = {f"module.{key}": value for key, value in weights.items() if is_of_probe(key)}
    torch.save({"classifiers": [trained], "opt": [{}], "scaler": None, "epoch": 20}, probe)
    return pretrained, probe


def is_of_probe(key: str) -> bool:
    return key.startswith(("pooler.", "linear."))


def clips() -> Tensor:
    return torch.randint(0, 256, (1, 3, 16, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_an_encoder_and_its_probe_make_one_model(
    tmp_path: Path, recipe: str, files: tuple[Path, Path], given: VJEPA2, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", str(files[0]), "--from", "vjepa2", "--further", str(files[1]), "--recipe", recipe]
    assert main([*arguments, "--output", str(tmp_path / "model")]) == 0
    said = capsys.readouterr().err
    assert "those under target_encoder are taken; left out: encoder, predictor" in " ".join(said.split())
    model, described = load_model(tmp_path / "model")
    assert described.model.num_classes == 3
    with torch.inference_mode():
        assert torch.equal(model(clips()), given(clips()))


def test_an_encoder_alone_is_a_model_whose_probe_is_to_be_trained(
    tmp_path: Path, recipe: str, files: tuple[Path, Path], given: VJEPA2, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", str(files[0]), "--from", "vjepa2", "--recipe", recipe, "--output", str(tmp_path / "model")]
    assert main(arguments) == 0
    assert "keep their initial values" in " ".join(capsys.readouterr().err.split())
    model, described = load_model(tmp_path / "model")
    assert described.model.frozen_stages == 2
    with torch.inference_mode():
        assert torch.equal(model.tokens(clips()), given.tokens(clips()))  # type: ignore[operator]


def test_a_file_of_many_probes_is_refused(
    tmp_path: Path, recipe: str, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"classifiers": [{"module.linear.bias": torch.zeros(3)}] * 20}, files[1])
    arguments = ["convert", str(files[0]), "--from", "vjepa2", "--further", str(files[1]), "--recipe", recipe]
    assert main([*arguments, "--output", str(tmp_path / "model")]) == 2
    assert "holds 20 models under classifiers" in " ".join(capsys.readouterr().err.split())


def test_weights_in_both_files_are_refused(
    tmp_path: Path, recipe: str, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", str(files[0]), "--from", "vjepa2", "--further", str(files[0]), "--recipe", recipe]
    assert main([*arguments, "--output", str(tmp_path / "model")]) == 2
    assert "has weights that" in " ".join(capsys.readouterr().err.split())
