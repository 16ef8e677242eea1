"""Optical flow as pairs of gray images, from the folder to a training of TSN."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.api import load, train
from kinema.data.dataset import ClipDataset, open_train_index, opener
from kinema.data.options import DataOptions
from kinema.data.readers.packed import PackHeader, write_packed
from kinema.data.readers.rawframes import open_flow
from kinema.data.readers.sources import Opener
from kinema.data.samples import SampleKey
from kinema.errors import MediaError, UserError
from kinema.prepare.flow import prepare_flow
from kinema.prepare.options import FlowOptions, PackOptions
from kinema.prepare.pack import prepare_pack
from kinema.recipes import config_of
from kinema.storage import Direct
from tests.data.drawn_videos import write_video
from tests.data.test_rawframes import write_frame

PAIRS = 9
BY_KINEMA = "flow_{axis}_{:05}.jpg"
TINY = {
    "model.depth": "18",
    "model.width": "8",
    "model.pretrained": "none",
    "model.dropout": "0",
    "data.train_clip.crop.size": "32",
    "data.val_views.crops.size": "32",
    "data.val_views.crops.short_side": "36",
    "data.workers": "0",
    "model.num_classes": "2",
    "training.log_every": "1",
}


def gray(axis: str, number: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W): a slope to the right for x, downwards for y, `number` lighter."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    return ((columns if axis == "x" else rows) * 2 + 10 * number).astype(np.uint8)


def write_flow(
    folder: Path, template: str = BY_KINEMA, *, first: int = 1, pairs: int = PAIRS, size: tuple[int, int] = (44, 36)
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + pairs):
        for axis in "xy":
            Image.fromarray(gray(axis, number, size)).save(folder / template.format(number, axis=axis), quality=95)


def by_pillow(folder: Path, numbers: list[int], template: str = BY_KINEMA) -> torch.Tensor:
    axes = [
        [np.array(Image.open(folder / template.format(number, axis=axis)).convert("L")) for number in numbers]
        for axis in "xy"
    ]
    return torch.from_numpy(np.stack(axes, -1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video")
    write_flow(path)
    return path


@settings(max_examples=20)
@given(indices=st.lists(st.integers(0, PAIRS - 1), min_size=1, max_size=12))
@pytest.mark.parametrize("options", [{}, {"template": BY_KINEMA}, {"template": BY_KINEMA, "count": PAIRS}])
def test_any_order_with_repeats(folder: Path, options: dict[str, str | int], indices: list[int]) -> None:
    video = open_flow(str(folder), **options)
    fields = video.frames(indices)
    assert len(video) == PAIRS
    assert fields.dtype == torch.uint8
    assert fields.is_contiguous()
    assert (fields.int() - by_pillow(folder, [index + 1 for index in indices]).int()).abs().max() <= 2


@pytest.mark.parametrize("template", [BY_KINEMA, "{axis}_{:05d}.jpg", "flow_{axis}{}.png", "clip_3_{axis}_{:03}.jpeg"])
@pytest.mark.parametrize("first", [0, 1, 8])
def test_pairs_are_found_by_themselves_beside_frames(tmp_path: Path, template: str, first: int) -> None:
    write_flow(tmp_path, template, first=first)
    for number in range(1, 12):
        write_frame(tmp_path / f"img_{number:05}.jpg", number, size=(44, 36))
    found, named = open_flow(str(tmp_path)), open_flow(str(tmp_path), template=template, first=first)
    assert len(found) == len(named) == PAIRS
    expected = by_pillow(tmp_path, list(range(first, first + PAIRS)), template)
    for video in (found, named):
        assert (video.frames(range(PAIRS)).int() - expected.int()).abs().max() <= 2


def test_what_kinema_prepares(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    for number in range(1, 6):
        write_frame(tmp_path / "frames" / "still" / "v" / f"{number}.png", 1)
        write_frame(tmp_path / "frames" / "lighter" / "v" / f"{number}.png", number)
    prepare_flow(
        FlowOptions(source=tmp_path / "frames", output=tmp_path / "flow", kind="rawframes", short_side=24, workers=1)
    )
    options = DataOptions(train=str(tmp_path / "flow" / "frames.csv"), source="flow")
    index = open_train_index(options)
    row = next(row for row in range(len(index)) if "still" in index.path(row))
    assert index.num_frames(row) == 4
    assert opener(options, index.path(row)).open(index.path(row), 4).frames(range(4)).unique().tolist() == [128]


def lose(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (lose("flow_y_00004.jpg"), {}, "9 images of flow in x, 8 in y"),
        (lose("flow_y_00004.jpg"), {"count": 9}, "8 of the 9 pairs of flow listed: flow_y_00004.jpg is missing"),
        (lose("flow_x_00009.jpg"), {"count": 9}, "8 of the 9 pairs of flow listed: flow_x_00009.jpg is missing"),
        (lose("flow_x_00002.jpg"), {"count": 9, "template": BY_KINEMA}, "flow_x_00002.jpg is missing: .* holds 8"),
        (lambda folder: write_flow(folder, "{axis}_{:05}.jpg"), {}, "several pairs of flow images"),
        (
            lambda folder: write_frame(folder / "flow_y_00003.jpg", 3),
            {},
            "flow_x_00003.jpg and flow_y_00003.jpg differ",
        ),
        (
            lambda folder: (folder / "flow_y_00003.jpg").write_bytes(b""),
            {},
            "flow_y_00003.jpg is no image, or is damaged",
        ),
        (lambda folder: None, {"template": "{axis}_{}.jpg"}, "no frames named {axis}_{}.jpg"),
    ],
)
def test_faulty_folders(
    tmp_path: Path, damage: Callable[[Path], object], options: dict[str, str | int], message: str
) -> None:
    write_flow(tmp_path)
    damage(tmp_path)
    with pytest.raises(MediaError, match=message):
        open_flow(str(tmp_path), **options).frames(range(PAIRS))


def test_frames_are_no_flow(tmp_path: Path) -> None:
    write_frame(tmp_path / "img_00001.jpg", 1)
    with pytest.raises(MediaError, match=r"no pairs of flow images in x and y.*but img_#\.jpg"):
        open_flow(str(tmp_path))


@pytest.mark.parametrize("template", ["flow_{:05}.jpg", "flow_{axis}.jpg", "flow_{axes}_{:05}.jpg", "{}_{:05}.jpg"])
def test_templates_without_a_place_for_axis_and_number(folder: Path, template: str) -> None:
    with pytest.raises(UserError, match="no place for the number of a frame and for the axis"):
        open_flow(str(folder), template=template, count=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos of two classes: flow to the right and down, or none; a list of them."""
    root = tmp_path_factory.mktemp("flow")
    for number in range(8):
        write_flow(root / f"v{number}", pairs=20)
        if number % 2:
            for image in (root / f"v{number}").iterdir():
                Image.fromarray(np.full((36, 44), 128, np.uint8)).save(image)
    (root / "list.txt").write_text("".join(f"v{number} 20 {number % 2}\n" for number in range(8)))
    return root


@pytest.mark.parametrize(
    ("source", "template"),
    [
        ("flow", "auto"),
        pytest.param("flow", BY_KINEMA, marks=pytest.mark.slow),
        pytest.param("packed_flow", "auto", marks=pytest.mark.slow),
    ],
)
def test_tsn_trains_on_flow(dataset: Path, tmp_path: Path, source: str, template: str) -> None:
    """Two steps of the recipe lower the loss: one class moves, the other does not."""
    listing = dataset / "list.txt"
    if source == "packed_flow":
        prepare_pack(PackOptions(source=listing, output=tmp_path / "packed", kind="flow", workers=1))
        listing = tmp_path / "packed" / "packed.csv"
    places = {"data.train": str(listing), "data.val": str(listing), "data.source": source}
    values = {
        **TINY,
        **places,
        "data.template": template,
        "data.batch_size": "8",
        "schedule.epochs": "2",
        "schedule.milestones": "",
        "optim.lr": "0.5",
    }
    config = config_of("tsn_r50_1x1x3_110e_kinetics400_flow", values)
    assert train(config, work_dir=tmp_path / "run")["videos"] == 8
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    first, second = [row["loss"] for row in rows if row["split"] == "train"]
    assert second < first
    predictor = load(tmp_path / "run")
    prepare_pack(PackOptions(source=dataset / "v1", output=tmp_path / "one", kind="flow", workers=1))
    of_folder, of_pack = predictor.predict(dataset / "v1"), predictor.predict(tmp_path / "one" / "v1.pack")
    assert of_folder == of_pack
    write_video(tmp_path / "video.mp4", times=range(9))
    with pytest.raises(MediaError, match="the model sees optical flow"):
        predictor.predict(tmp_path / "video.mp4")


def test_clips_have_five_fields_of_each_segment(dataset: Path, tmp_path: Path) -> None:
    """The same ones from folders and packed."""
    prepare_pack(PackOptions(source=dataset / "list.txt", output=tmp_path, kind="flow", workers=1))
    for row in range(3):
        clips = []
        for source, listing in (("flow", dataset / "list.txt"), ("packed_flow", tmp_path / "packed.csv")):
            values = {**TINY, "data.train": str(listing), "data.source": source}
            config = config_of("tsn_r50_1x1x3_110e_kinetics400_flow", values)
            batch = ClipDataset(open_train_index(config.data), [config.data.train_clip], config.data).__getitems__(
                [SampleKey(0, row)]
            )
            clips.append(batch.inputs[0])
        assert clips[0].shape == (1, 15, 2, 32, 32)
        assert torch.equal(*clips)
        # No motion: a mirror image has none either, but for the step between 127 and 128.
        assert (set(clips[0].unique().tolist()) <= {127, 128}) == (row == 1)


def test_packed_flow_and_packed_frames_are_not_mixed_up(dataset: Path, tmp_path: Path) -> None:
    prepare_pack(PackOptions(source=dataset / "list.txt", output=tmp_path, kind="flow", workers=1))
    listing = str(tmp_path / "packed.csv")
    config = config_of("tsn_r50_1x1x3_110e_kinetics400_flow", {"data.train": listing, "data.source": "packed"})
    with pytest.raises(UserError, match=r"v0.pack': it holds optical flow, which --data.source packed_flow reads"):
        ClipDataset(open_train_index(config.data), [config.data.train_clip], config.data)
    with pytest.raises(MediaError, match=r"it holds optical flow"):
        opener(config.data, listing).open(str(tmp_path / "v1.pack"))
    header = PackHeader(height=8, width=8, frames=1, every=1, fps=None)
    write_packed(tmp_path / "rgb.pack", header, [b"an image"])
    with pytest.raises(MediaError, match=r"it holds RGB frames, which --data.source packed reads"):
        Opener(source="packed_flow", storage=Direct()).open(str(tmp_path / "rgb.pack"))


@pytest.mark.parametrize("augmentation", ["rand_augment", "color_jitter"])
def test_flow_has_no_colours(dataset: Path, augmentation: str) -> None:
    values = {"data.train": str(dataset / "list.txt"), f"data.train_clip.augment.{augmentation}": "1"}
    config = config_of("tsn_r50_1x1x3_110e_kinetics400_flow", values)
    with pytest.raises(UserError, match="optical flow has no colors"):
        ClipDataset(open_train_index(config.data), [config.data.train_clip], config.data)


def test_a_list_of_frames_is_not_one_of_flow(dataset: Path) -> None:
    """A video of 21 frames has 20 pairs."""
    (dataset / "frames.txt").write_text("".join(f"v{number} 21 {number % 2}\n" for number in range(8)))
    config = config_of("tsn_r50_1x1x3_110e_kinetics400_flow", {"data.train": str(dataset / "frames.txt")})
    with pytest.raises(
        UserError, match=r"frames.txt:1: 21 pairs of flow listed, 20 found.*\n.*\n.*\n.*one pair of flow fewer"
    ):
        open_train_index(config.data)
