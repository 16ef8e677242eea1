"""Inspection of data: hashes of copies and of other videos, leaks, bad rows, what the model sees."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from kinema.cli import main
from kinema.data.dataset import ClipDataset, open_train_index
from kinema.data.readers.sources import open_video
from kinema.data.samples import SampleKey
from kinema.recipes import recognizer_config_of
from kinema.report.dataset.hashes import FRAMES, THRESHOLD, near_duplicates, video_hash
from kinema.report.dataset.headers import read_header
from kinema.report.dataset.pictures import class_histogram, contact_sheet, distributions
from kinema.tasks.recognition import inspection
from kinema.tasks.recognition.inspection import inspect_data
from tests.conftest import tiny_arguments


def write_copy(video: Path, copy: Path, change: Callable[[Image.Image], Image.Image], *, crf: int = 23) -> None:
    """Encode a changed copy of a video."""
    reader = open_video(str(video))
    with av.open(str(copy), "w") as container:
        stream = None
        for frame in reader.frames(range(len(reader))).numpy():
            picture = change(Image.fromarray(frame))
            if stream is None:
                stream = container.add_stream("libx264", rate=16, options={"crf": str(crf)})
                stream.width, stream.height = picture.size
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        assert stream is not None
        container.mux(stream.encode(None))


CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "re-encoded": (lambda picture: picture, 38),
    "smaller": (lambda picture: picture.resize((80, 60)), 25),
    "other aspect": (lambda picture: picture.resize((160, 160)), 25),
    "brighter": (lambda picture: ImageEnhance.Brightness(picture).enhance(1.2), 25),
    "mirrored": (ImageOps.mirror, 25),
}


def _hashes(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    found = video_hash(open_video(str(path)))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def clips(sample: Path) -> list[Path]:
    """Clips of different scenes: the opposite motions have the same frames."""
    return [
        clip
        for name in ("growing", "moving_down", "moving_right")
        for clip in sorted((sample / "train" / name).iterdir())
    ]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found(change: str, clips: list[Path], tmp_path: Path) -> None:
    function, crf = CHANGES[change]
    for clip in clips[::4]:
        write_copy(clip, tmp_path / "copy.mp4", function, crf=crf)
        (plain, mirrored), (copied, of_mirror) = _hashes(clip), _hashes(tmp_path / "copy.mp4")
        (pair,) = near_duplicates(np.stack([plain, copied]), np.stack([mirrored, of_mirror]))
        assert pair.mirrored == (change == "mirrored")
        assert pair.bits <= THRESHOLD


def test_other_videos_are_not(clips: list[Path]) -> None:
    plain, mirrored = (np.stack(hashes) for hashes in zip(*map(_hashes, clips), strict=True))
    assert list(near_duplicates(plain, mirrored)) == []


def test_mirrored_hash_is_that_of_the_mirror_image(clips: list[Path]) -> None:
    reader = open_video(str(clips[0]))

    class Mirror:
        path, fps = "", None

        def __len__(self) -> int:
            return len(reader)

        def frames(self, indices: Any, more: bool = False) -> torch.Tensor:
            return reader.frames(indices).flip(2)

    assert np.array_equal(_hashes(clips[0])[1], video_hash(Mirror())[0])  # type: ignore[index]


def test_uniform_videos_have_no_hash() -> None:
    class Black:
        path, fps = "", None

        def __len__(self) -> int:
            return 9

        def frames(self, indices: Any, more: bool = False) -> torch.Tensor:
            return torch.zeros((len(indices), 48, 64, 3), dtype=torch.uint8)

    assert video_hash(Black()) is None


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(0, 2**32))
def test_pairs_are_those_of_a_double_loop(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain = rng.integers(0, 2**63, (count, FRAMES)).astype(np.uint64)
    plain[1] = plain[0] ^ np.uint64(rng.integers(0, 2**20))  # near
    mirrored = rng.permutation(plain)
    expected = set()
    for i in range(count):
        for j in range(i + 1, count):
            for others, is_mirrored in ((plain, False), (mirrored, True)):
                bits = [int(a ^ b).bit_count() for a, b in zip(plain[i], others[j], strict=True)]
                if sum(bits) <= THRESHOLD and bits[FRAMES // 2] <= 22:
                    expected.add((i, j, is_mirrored, sum(bits)))
    found = {(pair.one, pair.other, pair.mirrored, pair.bits) for pair in near_duplicates(plain, mirrored)}
    assert found == expected


def test_headers_are_those_of_decoded_videos(clips: list[Path]) -> None:
    header = read_header(7, str(clips[0]))
    reader = open_video(str(clips[0]))
    height, width = reader.frames([0]).shape[1:3]
    assert (header.row, header.width, header.height) == (7, width, height)
    assert header.fps == reader.fps
    assert header.seconds == pytest.approx(len(reader) / reader.fps)


@pytest.fixture
def faulty(sample: Path, tmp_path: Path) -> Path:
    """Lists of a dataset with a leaked, mirrored copy, a leaked path, and bad files."""
    rows = [(path, path.parent.name) for path in sorted((sample / "train").rglob("*_000[01].mp4"))]
    val = [(path, path.parent.name) for path in sorted((sample / "val").rglob("*_0000.mp4"))]
    write_copy(rows[0][0], tmp_path / "copy.mp4", ImageOps.mirror)
    (tmp_path / "broken.mp4").write_bytes(rows[1][0].read_bytes()[:3000])
    rows.append((tmp_path / "broken.mp4", "growing"))
    val += [(tmp_path / "copy.mp4", "growing"), rows[2], (tmp_path / "missing.mp4", "growing")]
    for name, lines in (("train", rows), ("val", val)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "class"), *lines])
    return tmp_path


def test_command(
    faulty: Path, sample: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = faulty / "inspected"
    arguments = [str(faulty / "train.csv"), f"--data.val={faulty / 'val.csv'}", "--output", str(output), "--json"]
    assert main(["inspect", "data", *arguments, "--workers", "1", "--clips", "3"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads((output / "inspection.json").read_text())
    assert facts["videos"] == {"training": 17, "validation": 11}
    assert facts["common_paths"] == 1
    growing = next(row for row in facts["classes"] if row["class"] == "growing")
    assert growing == {"class": "growing", "training": 3, "validation": 3}
    bad = {(Path(row["path"]).name, row["split"], row["line"]) for row in facts["bad_rows"]}
    assert bad == {("broken.mp4", "training", 18), ("missing.mp4", "validation", 12)}
    leaks = [pair for pair in facts["duplicates"] if pair["leak"]]
    copies = [pair for pair in leaks if "copy.mp4" in (Path(pair["one"]).name, Path(pair["other"]).name)]
    assert [pair["mirrored"] for pair in copies][:1] == [True]
    assert facts["headers"]["training"]["sizes"] == {"128x96": 16}
    for name in ("sheet.png", "classes.png", "videos.png"):
        with Image.open(output / name) as picture:
            assert picture.width > 800
    with (output / "bad_rows.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_sheet_shows_what_the_model_is_trained_on(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(
        inspection, "contact_sheet", lambda clips, **_: shown.extend(clips) or contact_sheet(clips, heading="")
    )
    recipe = "tsm_efficientnet_lite0_1x1x8_small"
    config = recognizer_config_of(recipe, {"data.train": str(sample / "train"), "data.train_clip.crop.size": "32"})
    inspect_data(config, tmp_path, hashed=0, clips=4, workers=1)
    train = open_train_index(config.data)
    dataset = ClipDataset(train, [config.data.train_clip], config.data, seed=config.training.seed)
    assert len(shown) == 4
    for row, (caption, frames) in zip(np.linspace(0, len(train) - 1, 4).round().astype(int), shown, strict=True):
        sample_of_row = dataset[SampleKey(epoch=0, row=int(row))].sample
        assert sample_of_row is not None
        assert caption.startswith(train.class_names[sample_of_row.target])  # type: ignore[index]
        assert np.array_equal(frames, sample_of_row.inputs[0].movedim(1, -1).numpy())


def test_clean_data(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["inspect", "data", *tiny_arguments(sample), "--recipe", "tsm_r18_video_1x1x8_sample_rgb"]
    assert main([*arguments, "--output", str(tmp_path), "--hash", "0", "--clips", "1"]) == 0
    assert "0 videos compared" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "pass DATA or --data.train"),
        (["x", "--data.train=y"], "pass the training videos once"),
        (["x", "--recipe", "bmn_400x100_2x8_9e_activitynet_feature"], "bmn"),
        (["x", "--hsh", "all"], "did you mean"),
    ],
)
def test_faults(arguments: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "data", *arguments, "--output", str(tmp_path)]) == 2
    assert part in capsys.readouterr().err


def _texts(figure: Any) -> Iterator[Any]:
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        low, high = sorted(axes.get_ylim())
        ticks = [
            label for label, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True) if low <= at <= high
        ]
        for text in [*ticks, *axes.texts, axes.title]:
            if text.get_text():
                yield text.get_window_extent(renderer)


@pytest.mark.filterwarnings("ignore:Glyph")  # of CJK, which boxes stand for
@pytest.mark.parametrize("count", [2, 50, 400])
def test_names_do_not_overlap(count: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = [f"{i} a very long name of a class that goes on and on 乒乓球" for i in range(count)]
    rng = np.random.default_rng(0)
    figure = class_histogram(names, {"training": rng.integers(0, 900, count), "validation": rng.integers(0, 90, count)})
    FigureCanvasAgg(figure).draw()
    boxes = list(_texts(figure))
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.x1 <= width + 1 and box.y0 >= 0 and box.y1 <= height + 1 for box in boxes)
    for i, one in enumerate(boxes):
        assert not any(one.padded(-1).overlaps(other.padded(-1)) for other in boxes[i + 1 :])


def test_distributions_of_nothing() -> None:
    distributions([], [], [])


@pytest.mark.parametrize("options", [["missing"], ["{train}", "--data.val", "missing"]])
def test_missing_videos_leave_no_folder(options: list[str], sample: Path, tmp_path: Path) -> None:
    given = [option.format(train=sample / "train") for option in options]
    assert main(["inspect", "data", *given, "--output", str(tmp_path / "new/out")]) == 2
    assert list(tmp_path.iterdir()) == []
