"""`zoo:NAME` as a MODEL: downloaded, converted and kept, with checkpoints by the tools' own code."""

import io
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorchvideo.models.x3d import create_x3d
from torch import nn

import kinema
from kinema.cli import main
from kinema.errors import UserError
from kinema.models.foreign import foreign_state_dict
from kinema.recipes import build_model, config_of
from kinema.tasks.models import load_model
from kinema.training.initial import with_init
from kinema.weights.find import find_model
from kinema.weights.model_files import read_origin
from kinema.weights.published.models import published_model
from kinema.weights.published.table import Published
from tests.data.drawn_videos import write_video
from tests.weights.published.server import Server, serving

X3D = "x3d_xs_4x12_kinetics400@pytorchvideo"
"""Weights without a published hash, whose file the tests can stand in for."""


@pytest.fixture(scope="module")
def theirs() -> Any:
    """X3D-XS by pytorchvideo's own code, with random weights."""
    torch.manual_seed(0)
    network: Any = create_x3d(input_clip_length=4, input_crop_size=160, head_activation=None)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.normal_(layer.weight, 1, 0.1)
    return network.eval()


@pytest.fixture(scope="module")
def server(theirs: Any) -> Iterator[Server]:
    """A mirror of pytorchvideo's zoo."""
    saved = io.BytesIO()
    torch.save({"model_state": theirs.state_dict()}, saved)
    with serving() as running:
        running.files["/dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/X3D_XS.pyth"] = saved.getvalue()
        yield running


@pytest.fixture(scope="module")
def cache(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for the tests of a model that is downloaded once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("KINEMA_CACHE", str(folder))
        patch.setenv("KINEMA_ZOO_MIRROR", server.url)
        yield folder


def test_the_converted_network_is_the_published_one(cache: Path, theirs: Any, server: Server) -> None:
    folder = find_model(f"zoo:{X3D}")
    assert folder == cache / "zoo" / X3D
    model, described = load_model(folder)
    clips = torch.randn(1, 3, 4, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(model(clips), theirs(clips), rtol=1e-3, atol=1e-4)
    assert (described.recipe, described.classes[:2]) == ("x3d_xs_4x12_kinetics400", ("abseiling", "air drumming"))
    origin = read_origin(folder)
    assert origin is not None
    assert origin.urls == ("https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/X3D_XS.pyth",)
    assert len(origin.sha256[0]) == 64
    asked = len(server.requests)
    assert find_model(f"zoo:{X3D}") == folder
    assert len(server.requests) == asked


def test_predict_takes_it(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "clip.mp4"
    write_video(video)
    assert main(["predict", f"zoo:{X3D}", str(video), "--top", "1"]) == 0
    label = capsys.readouterr().out.split("  ")[1].rpartition(" ")[0]
    (best,) = kinema.load(f"zoo:{X3D}").predict(str(video), top=1)
    assert best.label == label


def test_training_starts_from_it(cache: Path) -> None:
    config: Any = with_init(config_of("x3d_xs_4x12_kinetics400"), f"zoo:{X3D}")
    assert config.training.init == f"zoo:{X3D}"
    assert config.model.mean == pytest.approx((114.75, 114.75, 114.75))


def test_results_of_a_test_do_not_go_into_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4")
    (tmp_path / "list.txt").write_text("clip.mp4 3\n")
    arguments = ["--data.val", "list.txt", "--data.workers", "0", "--data.test-views.sampling.num-clips", "1"]
    assert main(["test", f"zoo:{X3D}", *arguments, "--data.test-views.crops.crops", "center"]) == 0
    assert (tmp_path / "runs" / "zoo" / X3D / "test" / "metrics.json").is_file()


RECIPE = "tsm_r18_video_1x1x8_small_rgb"


def tiny(server: Server, **values: Any) -> dict[str, Published]:
    """A row with a network of MMAction2's names, on the server."""
    model = build_model(RECIPE, {"model.num_classes": 5})
    saved = io.BytesIO()
    torch.save({"state_dict": foreign_state_dict(model, source="mmaction2")}, saved)
    server.files["/host/tsm.pth"] = saved.getvalue()
    values = {"tool": "mmaction2", "dataset": "own", "url": "https://host/tsm.pth", "classes": 5, **values}
    row = Published(name=f"{RECIPE}@mmaction2", recipe=RECIPE, **values)
    return {row.name: row}


@pytest.mark.parametrize("recipe", [RECIPE, "tsm_r18_1x1x8_small_rgb"])
def test_the_recipe_asked_for_is_that_of_the_model(cache: Path, server: Server, recipe: str) -> None:
    """On frames or on video files: the weights are the same."""
    folder = published_model(f"zoo:{recipe}@mmaction2", rows=tiny(server))
    _, described = load_model(folder)
    assert described.recipe == recipe
    assert described.data.source == ("video" if "video" in recipe else "rawframes")
    assert described.classes == tuple("01234")


def test_another_file_in_the_table_replaces_the_model(cache: Path, server: Server) -> None:
    rows = tiny(server)
    folder = published_model(f"zoo:{RECIPE}@mmaction2", rows=rows)
    server.files["/host/later.pth"] = server.files["/host/tsm.pth"]
    rows = tiny(server, url="https://host/later.pth")
    assert published_model(f"zoo:{RECIPE}@mmaction2", rows=rows) == folder
    origin = read_origin(folder)
    assert origin is not None
    assert origin.urls == ("https://host/later.pth",)


def test_weights_of_another_network_are_refused_and_nothing_is_kept(cache: Path, server: Server) -> None:
    saved = io.BytesIO()
    torch.save({"state_dict": {"backbone.conv1.conv.weight": torch.zeros(1)}}, saved)
    rows = tiny(server, url="https://host/odd.pth", version="odd")
    server.files["/host/odd.pth"] = saved.getvalue()
    (row,) = rows.values()
    odd = Published(**{**vars(row), "name": f"{RECIPE}@mmaction2-odd"})
    with pytest.raises(UserError, match="do not fit each other"):
        published_model(f"zoo:{odd.name}", rows={odd.name: odd})
    assert not (cache / "zoo" / odd.name).exists()


def test_a_method_of_stages_is_a_model_of_its_parts(cache: Path, server: Server) -> None:
    rows: dict[str, Published] = {}
    for stage in ("tem", "pem"):
        recipe = f"bsn_{stage}_400x100_1x16_20e_activitynet_feature"
        saved = io.BytesIO()
        weights = foreign_state_dict(build_model(recipe), source="mmaction2")
        torch.save({"state_dict": weights}, saved)
        server.files[f"/host/{stage}.pth"] = saved.getvalue()
        rows[recipe] = Published(
            name=recipe, recipe=recipe, tool="mmaction2", dataset="", url=f"https://host/{stage}.pth"
        )
    whole = "bsn_400x100_20e_activitynet_feature"
    parts = dict(zip(("tem", "pem"), rows, strict=True))
    rows[whole] = Published(name=whole, recipe=whole, tool="mmaction2", dataset="", parts=parts)
    folder = published_model(f"zoo:{whole}", rows=rows)
    assert find_model(folder) == folder / "pem"
    _, described = load_model(folder / "tem")
    assert described.recipe == parts["tem"]


def _prepare(rows: dict[str, Published]) -> None:
    torch.set_num_threads(1)
    load_model(published_model(f"zoo:{RECIPE}@mmaction2", rows=rows))


def test_two_processes_at_once_do_not_disturb_each_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path))
    monkeypatch.setenv("KINEMA_ZOO_MIRROR", server.url)
    rows, asked = tiny(server), len(server.requests)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_prepare, args=(rows,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == asked + 1
