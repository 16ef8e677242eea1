"""Export: every network, what is said of the file, the file as MODEL, and its use without Kinema."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils import _pytree

import kinema
from kinema.cli import main
from kinema.data.crops import ViewCrops
from kinema.data.streams.windows import WindowSchedule
from kinema.deploy.check import Agreement, check_agreement, compare
from kinema.deploy.export import export
from kinema.deploy.options import ExportOptions
from kinema.errors import UserError
from kinema.tasks.recognition.predictor import RecognizerPredictor
from kinema.tasks.timeline.scorer import clip_scorer, score_video
from kinema.weights.exported import ExportedNetwork, read_metadata
from tests.data.streams.live_servers import streaming
from tests.deploy.small import CLASSES, MODELS, small_config, write_model
from tests.tasks.timeline.conftest import long_video

__all__ = ["long_video"]

QUICK = ("tsn_r18_video_1x1x8_sample_rgb", "bsn_pem_400x100_1x16_20e_activitynet_feature")
HIDE_KINEMA = "import sys; sys.modules['kinema'] = None; sys.argv = sys.argv[1:]; exec(open(sys.argv[0]).read())"


def batch_of(config: Any, size: int) -> list[torch.Tensor]:
    torch.manual_seed(1)
    examples = config.task.export_inputs(config.describe(CLASSES)).values()
    return [torch.cat([tensor, tensor.flip(-1)])[:size] for tensor in examples]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_every_network_in_onnx(name: str, tmp_path: Path) -> None:
    config = small_config(name)
    model = write_model(config, tmp_path / "model")
    exported = export(tmp_path / "model", ExportOptions(output=tmp_path / "x.onnx"))
    assert exported.agreement.max_error <= 1e-4
    session = onnxruntime.InferenceSession(str(exported.file), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    for size in (1, 3):
        inputs = batch_of(config, size)
        found = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})
        with torch.no_grad():
            expected = _pytree.tree_leaves(model(*inputs))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            limit = 1e-4 * max(1.0, other.abs().max().item())
            np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=limit)
            assert one.shape[0] == size
    said = session.get_modelmeta().custom_metadata_map
    assert [tuple(entry["shape"][1:]) for entry in json.loads(said["inputs"])] == [x.shape[1:] for x in inputs]
    assert json.loads(said["outputs"]) == [entry.name for entry in session.get_outputs()]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_every_network_as_a_program_of_torch(name: str, tmp_path: Path) -> None:
    config = small_config(name)
    model = write_model(config, tmp_path / "model")
    file = export(tmp_path / "model", ExportOptions(format="torch", output=tmp_path / "x.pt2")).file
    network = ExportedNetwork(file)
    for size in (1, 3):
        inputs = batch_of(config, size)
        with torch.no_grad():
            expected, found = model(*inputs), network(*inputs)
        assert _pytree.tree_structure(found) == _pytree.tree_structure(expected)
        for one, other in zip(_pytree.tree_leaves(found), _pytree.tree_leaves(expected), strict=True):
            limit = 1e-4 * max(1.0, other.abs().max().item())
            torch.testing.assert_close(one, other, rtol=0, atol=limit)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose answers depend on its input."""
    folder = tmp_path_factory.mktemp("models") / "tsn"
    config = small_config(QUICK[0])
    config.data.test_views.sampling.num_clips = 4
    config.data.test_views.crops.crops = "three"
    write_model(config, folder)
    return folder


@pytest.fixture(scope="module")
def onnx_file(model: Path) -> Path:
    return export(model, ExportOptions(output=model.with_suffix(".onnx"))).file


@pytest.fixture(scope="module")
def clips(sample: Path) -> list[Path]:
    return sorted(sample.glob("val/*/*.mp4"))[::5]


def test_metadata_describe_the_use(onnx_file: Path) -> None:
    metadata = read_metadata(onnx_file)
    assert metadata["classes"] == list(CLASSES)
    preprocessing = metadata["preprocessing"]
    assert preprocessing["sampling"]["num_clips"] == preprocessing["frames"] == 4
    assert preprocessing["crops"] == {"crops": "three", "short_side": 72, "size": 64}
    assert metadata["inputs"] == [{"name": "clips", "dtype": "uint8", "shape": [None, 3, 4, 64, 64]}]


def test_predict_and_test_answer_as_the_model_does(
    model: Path, onnx_file: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for named in (model, onnx_file):
        assert main(["predict", str(named), *map(str, clips), "--json", "--top", "2"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    for one, other in zip(*answers, strict=True):
        assert one["video"] == other["video"]
        for ours, theirs in zip(one["predictions"], other["predictions"], strict=True):
            assert ours["label"] == theirs["label"]
            assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)
    data = tmp_path / "list.csv"
    data.write_text("path,label\n" + "".join(f"{clip},{number % 5}\n" for number, clip in enumerate(clips)))
    metrics = []
    for number, named in enumerate((model, onnx_file)):
        arguments = ["test", str(named), "--data.val", str(data), "--work-dir", str(tmp_path / str(number)), "--json"]
        assert main(arguments) == 0
        metrics.append(json.loads(capsys.readouterr().out))
    assert metrics[0].keys() == metrics[1].keys()
    for key, value in metrics[0].items():
        assert metrics[1][key] == pytest.approx(value, abs=1e-4)


SCHEDULE = WindowSchedule(every=0.6, window=0.8)
ALONG = ["--every", "0.6", "--window", "0.8", "--json"]


def check_curves(model: Path, file: Path, video: Path) -> None:
    """Windows along a video are scored as the model scores them, and differ from each other."""
    original, exported = kinema.load(model), kinema.load(file)
    assert isinstance(original, RecognizerPredictor)
    assert isinstance(exported, RecognizerPredictor)
    for which in ("val", "test"):
        original.description.data.val_views = exported.views("val")
        curves = [
            np.stack([one.scores for one in score_video(one, one.open_stream(video), SCHEDULE, views=which)])
            for one in (original, exported)
        ]
        assert len(curves[0]) > 5
        assert np.ptp(curves[0], axis=0).max() > 0.02
        np.testing.assert_allclose(curves[1], curves[0], rtol=0, atol=1e-4)


def test_curves_of_a_file_are_those_of_the_model(
    model: Path, onnx_file: Path, long_video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exported = kinema.load(onnx_file)
    assert isinstance(exported, RecognizerPredictor)
    data = exported.description.data
    assert data.val_views.shape[1] != data.test_views.shape[1] == 4
    with caplog.at_level(logging.INFO):
        views = exported.views("val")
    assert "takes clips of 4x64x64" in caplog.text
    assert views.shape == (1, 4, 64, 64)
    assert views.crops.crops == "center"
    check_curves(model, onnx_file, long_video)


def test_views_that_a_file_can_take_are_kept(model: Path, onnx_file: Path, tmp_path: Path) -> None:
    network = ExportedNetwork(onnx_file)
    assert network.shapes == [(3, 4, 64, 64)]
    exported = kinema.load(onnx_file)
    assert isinstance(exported, RecognizerPredictor)
    data = exported.description.data
    data.val_views = replace(data.val_views, sampling=data.test_views.sampling)
    data.val_views.crops = ViewCrops(short_side=70, size=64)
    assert exported.views("val") is data.val_views
    original = kinema.load(model)
    assert isinstance(original, RecognizerPredictor)
    assert original.views("val") is original.description.data.val_views


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", ["slowfast_r50_video_4x16x1_256e_kinetics400_rgb", "tsm_r18_video_1x1x8_small_rgb", QUICK[0]]
)
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_curves_of_other_networks(recipe: str, kind: Any, long_video: Path, tmp_path: Path) -> None:
    config = small_config(recipe)
    config.data.test_views.crops.crops = "three"
    write_model(config, tmp_path / "model")
    output = tmp_path / ("x.onnx" if kind == "onnx" else "x.pt2")
    file = export(tmp_path / "model", ExportOptions(format=kind, output=output)).file
    check_curves(tmp_path / "model", file, long_video)


@pytest.mark.slow
def test_a_file_along_videos_and_streams(onnx_file: Path, long_video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = clip_scorer(kinema.load(onnx_file))
    expected = [*score_video(exported, exported.open_stream(long_video), SCHEDULE)]
    assert main(["predict", str(onnx_file), str(long_video), *ALONG]) == 0
    recorded = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    with streaming(lambda _: long_video.read_bytes()) as server:
        assert main(["predict", str(onnx_file), server.url, "--live", *ALONG]) == 0
    live = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for lines in (recorded, live):
        assert [line["start"] for line in lines] == pytest.approx([one.start for one in expected])
        for line, one in zip(lines, expected, strict=True):
            assert [*line["scores"].values()] == pytest.approx(one.scores.tolist(), abs=1e-5)


@pytest.mark.slow
def test_a_file_localizes(model: Path, onnx_file: Path, long_video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = ["--curve.every", "0.4", "--curve.window", "0.8", "--curve.high", "0.25", "--curve.views", "test"]
    answers = []
    for named in (model, onnx_file):
        assert main(["localize", str(named), str(long_video), *curve, "--json"]) == 0
        [rows] = json.loads(capsys.readouterr().out)["results"].values()
        answers.append(rows)
    assert len(answers[0]) == len(answers[1]) > 0
    for one, other in zip(*answers, strict=True):
        assert one["label"] == other["label"]
        assert other["segment"] == pytest.approx(one["segment"], abs=1e-3)
        assert other["score"] == pytest.approx(one["score"], abs=1e-4)


def run_script(script: Path, clip: Path) -> dict[str, float]:
    command = [sys.executable, "-I", "-c", HIDE_KINEMA, str(script), str(clip)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return {label: float(score) for score, label in (line.split("  ", 1) for line in ran.stdout.splitlines())}


def check_script(model: Path, script: Path, clips: list[Path]) -> None:
    predictor = kinema.load(model)
    for clip in clips:
        expected = {answer.label: answer.score for answer in predictor.predict(clip)}
        spread = max(expected.values()) - min(expected.values())
        assert spread > 0.02
        # Pixels differ by a gray level, scores are printed with four digits.
        assert run_script(script, clip) == pytest.approx(expected, abs=1e-4 + 0.05 * spread)


def test_the_script_answers_without_kinema(model: Path, onnx_file: Path, clips: list[Path], tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    task = kinema.load(model).description.task
    script.write_text(task.export_script(onnx_file, kinema.load(model).description))
    assert len(script.read_text().splitlines()) < 30
    check_script(model, script, clips[:2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "crops", "changes"),
    [
        ("slowonly_r18_video_8x4x1_small_rgb", "ten", {"num_clips": 2, "spread": True}),
        ("tsm_r18_video_1x1x8_small_rgb", "center", {"twice": True}),
        ("slowonly_r18_video_8x4x1_small_rgb", "three", {"frame_interval": 30}),
    ],
)
def test_scripts_of_other_views(
    recipe: str, crops: Any, changes: dict[str, Any], clips: list[Path], tmp_path: Path
) -> None:
    config = small_config(recipe)
    config.data.test_views.crops.crops = crops
    for key, value in changes.items():
        setattr(config.data.test_views.sampling, key, value)
    write_model(config, tmp_path / "model")
    arguments = ["export", str(tmp_path / "model"), "--output", str(tmp_path / "x.onnx")]
    assert main([*arguments, "--check", str(clips[0]), "--script", str(tmp_path / "run.py")]) == 0
    check_script(tmp_path / "model", tmp_path / "run.py", clips[:2])


@pytest.mark.slow
def test_eight_bits_with_their_loss_of_accuracy(
    tiny_run: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.onnx"
    arguments = ["export", str(tiny_run), "--output", str(output), "--int8", str(sample / "train"), "--json"]
    assert main([*arguments, "--int8-samples", "8"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for named, metrics in ((tiny_run, printed["metrics"]), (output, printed["int8_metrics"])):
        folder = str(tmp_path / f"test_{named.name}")
        assert main(["test", str(named), "--json", "--data.val", str(sample / "val"), "--work-dir", folder]) == 0
        assert json.loads(capsys.readouterr().out) == pytest.approx(metrics)
    import onnx

    kinds = {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in onnx.load(output).graph.initializer}
    assert "INT8" in kinds
    assert read_metadata(output)["quantization"] == "int8"


def test_a_network_that_differs_is_refused() -> None:
    network = torch.nn.Linear(3, 4)

    def other(x: torch.Tensor) -> torch.Tensor:
        return network(x) + torch.tensor([0.0, 0.0, 0.0, 0.01])

    samples = [(torch.randn(2, 3),), (torch.randn(5, 3),)]

    class Meter:
        def advance(self) -> None: ...

    found = compare(network, other, samples, scores=lambda y: y, tolerance=1e-4, meter=Meter())  # type: ignore[arg-type]
    assert found.samples == 7
    assert found.max_error == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(UserError, match=r"0.01 .*nothing is written"):
        check_agreement(found, tolerance=1e-4)
    damaged = Agreement(samples=1, max_error=float("nan"), max_output_error=0.0, top1_equal=1)
    with pytest.raises(UserError, match="nothing is written"):
        check_agreement(damaged, tolerance=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "torch", "--output", "x.onnx"], "ends with .pt2"),
        (["--format", "torch", "--int8", "videos"], "--int8 is for --format onnx"),
        (["--check", "missing.mp4"], "missing.mp4"),
    ],
)
def test_faults_of_users(
    model: Path, arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(model), *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_faults_of_files(onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(onnx_file.read_bytes()[:1000])
    foreign = tmp_path / "foreign.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), foreign)
    for file in (cut, foreign):
        assert main(["predict", str(file), "clip.mp4"]) == 2
        assert "kinema" in capsys.readouterr().err
    assert main(["export", str(onnx_file)]) == 2
    assert "exported file already" in capsys.readouterr().err
    network = ExportedNetwork(onnx_file)
    with pytest.raises(UserError, match=r"takes clips \(N, 3, 4, 64, 64\) uint8, found \(1, 3, 5, 64, 64\)"):
        network(torch.zeros(1, 3, 5, 64, 64, dtype=torch.uint8))
