"""Rawframes against Pillow's decoding of the same files."""

import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kinema.data.dataset import open_train_index, opener
from kinema.data.lists.spot_checks import with_usual_names
from kinema.data.options import DataOptions
from kinema.data.readers.frame_names import Numbered, numbering
from kinema.data.readers.packed import open_packed
from kinema.data.readers.rawframes import open_rawframes
from kinema.errors import MediaError, UserError
from kinema.prepare.options import PackOptions
from kinema.prepare.pack import prepare_pack
from kinema.storage import Direct


def write_frame(path: Path, number: int, *, size: tuple[int, int] = (36, 24), mode: str = "RGB") -> None:
    """A smooth picture, so that JPEG keeps it nearly as it is; `number` sets its brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([rows * 4, columns * 3, np.full_like(rows, 20 * number % 256)], -1).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, quality=95)


def by_pillow(*paths: Path) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(Image.open(path).convert("RGB"))) for path in paths])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`img_00001.jpg` to `img_00012.jpg`."""
    path = tmp_path_factory.mktemp("video")
    for number in range(1, 13):
        write_frame(path / f"img_{number:05}.jpg", number)
    return path


@settings(max_examples=30, deadline=None)
@given(indices=st.lists(st.integers(0, 11), min_size=1, max_size=20))
@pytest.mark.parametrize("options", [{}, {"template": "img_{:05}.jpg"}, {"template": "img_{:05}.jpg", "count": 12}])
def test_any_order_with_repeats(folder: Path, options: dict[str, str | int], indices: list[int]) -> None:
    video = open_rawframes(str(folder), **options)
    frames = video.frames(indices)
    assert len(video) == 12
    assert video.fps is None
    assert video.path == str(folder)
    assert frames.dtype == torch.uint8
    assert frames.is_contiguous()
    expected = by_pillow(*(folder / f"img_{index + 1:05}.jpg" for index in indices))
    # Pillow's libjpeg may be another one and round otherwise.
    assert (frames.int() - expected.int()).abs().max() <= 2


@pytest.mark.parametrize("indices", [[12], [-1], [0, 3, 12]])
def test_an_index_outside_the_video(folder: Path, indices: list[int]) -> None:
    with pytest.raises(IndexError, match="of a video of 12 frames"):
        open_rawframes(str(folder)).frames(indices)


def test_natural_order_of_unpadded_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 9, 10, 11, 100):
        write_frame(tmp_path / f"frame{number}.jpg", number)
    (tmp_path / "notes.txt").write_text("not a frame")
    write_frame(tmp_path / "._frame1.jpg", 0)
    expected = by_pillow(*(tmp_path / f"frame{number}.jpg" for number in (1, 2, 9, 10, 11, 100)))
    frames = open_rawframes(str(tmp_path)).frames(range(6))
    assert (frames.int() - expected.int()).abs().max() <= 2


@pytest.mark.parametrize(
    ("suffix", "mode"), [("jpg", "L"), ("jpeg", "CMYK"), ("png", "RGB"), ("PNG", "L"), ("png", "P")]
)
def test_kinds_of_images(tmp_path: Path, suffix: str, mode: str) -> None:
    write_frame(tmp_path / f"1.{suffix}", 1, mode=mode)
    frames = open_rawframes(str(tmp_path)).frames([0])
    assert frames.shape == (1, 24, 36, 3)
    assert (frames.int() - by_pillow(tmp_path / f"1.{suffix}").int()).abs().max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_images_are_upright_as_their_exif_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Photographs of a telephone. Pillow says what is right; packed images are the same bytes."""
    source = tmp_path / "in" / "clip"
    for number in (1, 2):
        write_frame(source / f"{number}{suffix}", number)
        exif = Image.Exif()
        exif[0x0112] = orientation
        with Image.open(source / f"{number}{suffix}") as image:
            image.load()
        image.save(source / f"{number}{suffix}", exif=exif, quality=95)
    with Image.open(source / f"2{suffix}") as image:
        expected = torch.from_numpy(np.array(ImageOps.exif_transpose(image)))
    found = open_rawframes(str(source)).frames([1])[0]
    assert found.shape == expected.shape
    assert (found.int() - expected.int()).abs().max() <= 2
    prepare_pack(PackOptions(source=tmp_path / "in", output=tmp_path / "out", kind="rawframes", workers=1))
    assert torch.equal(open_packed(str(tmp_path / "out" / "clip.pack")).frames([1])[0], found)


def test_count_takes_the_first_frames(folder: Path) -> None:
    assert len(open_rawframes(str(folder), count=7)) == 7


def test_a_template_with_a_count_lists_no_folder(tmp_path: Path) -> None:
    video = open_rawframes(str(tmp_path / "missing"), template="{:06}.png", count=3)
    assert len(video) == 3
    with pytest.raises(MediaError) as error:
        video.frames([2, 1])
    assert error.value.path == str(tmp_path / "missing")
    assert error.value.reason == "000002.png is missing"


def test_numbering_from_another_number(tmp_path: Path) -> None:
    for number in range(5):
        write_frame(tmp_path / f"{number}.png", number)
    assert len(open_rawframes(str(tmp_path), template="{}.png", first=0)) == 5
    assert len(open_rawframes(str(tmp_path), template="{}.png")) == 4
    third = open_rawframes(str(tmp_path), template="{}.png", count=5, first=0).frames([2])
    assert torch.equal(third, by_pillow(tmp_path / "2.png"))


@pytest.mark.parametrize("lost", [1, 5, 10])
def test_the_first_missing_frame_is_named(tmp_path: Path, lost: int) -> None:
    for number in range(1, 11):
        if number != lost:
            write_frame(tmp_path / f"img_{number:05}.jpg", number)
    with pytest.raises(MediaError, match=f"holds 9 of the 10 frames listed: img_{lost:05}.jpg is missing"):
        open_rawframes(str(tmp_path), count=10)
    by_template = open_rawframes(str(tmp_path), template="img_{:05}.jpg", count=10)
    with pytest.raises(MediaError, match=f"img_{lost:05}.jpg is missing: img_00001.jpg to img_00010.jpg are listed"):
        by_template.frames(range(10))


def test_a_missing_frame_is_compared_with_what_is_there(tmp_path: Path) -> None:
    for number in range(10):
        write_frame(tmp_path / f"img_{number:05}.jpg", number)
    with pytest.raises(MediaError) as error:
        open_rawframes(str(tmp_path), template="img_{:05}.jpg", count=10).frames([9])
    assert error.value.reason == (
        "img_00010.jpg is missing: img_00001.jpg to img_00010.jpg are listed, the folder holds 10, img_00000.jpg to "
        "img_00009.jpg: is --data.start 0 right?"
    )
    with pytest.raises(
        MediaError, match=r"1.png is missing: the folder holds no #.png, but img_#.jpg: is --data.template"
    ):
        open_rawframes(str(tmp_path), template="{}.png", count=10).frames([0])


def test_frames_beside_flow(tmp_path: Path) -> None:
    """MMAction2 puts RGB and flow of a video into one folder: together they are no video."""
    for number in (1, 2):
        for series in ("img", "flow_x", "flow_y"):
            write_frame(tmp_path / f"{series}_{number:05}.jpg", number)
    with pytest.raises(MediaError, match=r"several series of images, flow_x_#.jpg, flow_y_#.jpg, img_#.jpg"):
        open_rawframes(str(tmp_path))
    assert len(open_rawframes(str(tmp_path), template="img_{:05}.jpg")) == 2


def test_a_frame_of_another_size(tmp_path: Path) -> None:
    write_frame(tmp_path / "1.jpg", 1)
    write_frame(tmp_path / "2.jpg", 2)
    write_frame(tmp_path / "3.jpg", 3, size=(40, 30))
    with pytest.raises(MediaError, match=r"3\.jpg is 40x30 and 1\.jpg is 36x24"):
        open_rawframes(str(tmp_path)).frames([2, 0])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_damaged_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"1.{suffix}"
    write_frame(path, 1)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"this is no picture"):
        path.write_bytes(damaged)
        with pytest.raises(MediaError, match=rf"1.{suffix} (is no image, or is damaged|cannot be (read|decoded))"):
            open_rawframes(str(tmp_path)).frames([0])


def test_folders_without_frames(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(MediaError, match="holds no frames"):
        open_rawframes(str(tmp_path))
    with pytest.raises(MediaError, match=r"holds no frames named img_\{:05\}.jpg, nor any images"):
        open_rawframes(str(tmp_path), template="img_{:05}.jpg")
    (tmp_path / "frame_3.png").touch()
    with pytest.raises(MediaError, match=r"holds no frames named img_\{:05\}.jpg, but frame_#.png"):
        open_rawframes(str(tmp_path), template="img_{:05}.jpg")
    with pytest.raises(MediaError, match="No such file"):
        open_rawframes(str(tmp_path / "nowhere"))
    with pytest.raises(MediaError, match="Not a directory"):
        open_rawframes(str(tmp_path / "file.txt"))


@pytest.mark.parametrize("template", ["img.jpg", "img_{name}.jpg", "img_{:05.jpg", "img_{:s}.jpg"])
def test_a_template_without_a_place_for_the_number(folder: Path, template: str) -> None:
    with pytest.raises(UserError, match="no place for the number of a frame"):
        open_rawframes(str(folder), template=template, count=3)


def test_real_gray_frames(shared: Path) -> None:
    folder = shared / "data" / "weizmann_rawframes" / "bend" / "01"
    paths = sorted(folder.glob("img_*.jpg"))
    frames = open_rawframes(str(folder)).frames(range(len(paths)))
    assert frames.shape == (len(paths), 144, 180, 3)
    assert (frames.int() - by_pillow(*paths).int()).abs().max() <= 2


def write_dataset(root: Path, *, first: int, found: int, listed: int, folders: int = 10) -> Path:
    """Folders with `found` frames each, and a list that speaks of `listed`."""
    for video in range(folders):
        for number in range(first, first + found):
            write_frame(root / f"v{video}" / f"img_{number:05}.jpg", number)
    path = root / "list.txt"
    path.write_text("".join(f"v{video} {listed} {video % 2}\n" for video in range(folders)))
    return path


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("template", ["auto", "img_{:05}.jpg"])
def test_numbering_from_0_or_1_is_found_out(
    tmp_path: Path, first: int, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_dataset(tmp_path, first=first, found=6, listed=6)
    options = DataOptions(train=str(path), source="rawframes", template=template)
    video = opener(options, str(tmp_path / "v0")).open(str(tmp_path / "v0"), 6)
    expected = by_pillow(*(tmp_path / "v0" / f"img_{number:05}.jpg" for number in range(first, first + 6)))
    assert (video.frames(range(6)).int() - expected.int()).abs().max() <= 2
    assert len(open_train_index(options)) == 10
    assert not caplog.text


@pytest.mark.parametrize("template", ["auto", "img_{:05}.jpg"])
def test_a_list_with_one_frame_too_many_stops_before_training(tmp_path: Path, template: str) -> None:
    path = write_dataset(tmp_path, first=1, found=5, listed=6)
    with pytest.raises(UserError) as error:
        open_train_index(DataOptions(train=str(path), source="rawframes", template=template))
    first, *_, last = str(error.value).splitlines()
    assert first == f"{path}:1: 6 frames listed, 5 found in {tmp_path}/v0"
    assert last.startswith("8 of 8 folders checked differ from the list")


def test_a_wrong_start_stops_before_training(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, first=0, found=6, listed=6)
    options = DataOptions(train=str(path), source="rawframes", template="img_{:05}.jpg", start=1)
    with pytest.raises(UserError, match=r"6 frames listed, 5 found(.|\n)*counted from --data.start 1"):
        open_train_index(options)


@pytest.mark.parametrize("template", ["auto", "img_{:05}.jpg"])
def test_a_list_with_fewer_frames_is_only_mentioned(
    tmp_path: Path, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_dataset(tmp_path, first=1, found=7, listed=6)
    open_train_index(DataOptions(train=str(path), source="rawframes", template=template))
    assert "list.txt:1: 6 frames listed, 7 found" in caplog.text


def test_one_faulty_folder_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_dataset(tmp_path, first=1, found=6, listed=6)
    (tmp_path / "v0" / "img_00006.jpg").unlink()
    open_train_index(DataOptions(train=str(path), source="rawframes"))
    assert "list.txt:1: 6 frames listed, 5 found" in caplog.text
    assert "1 of 8 folders checked differ" in caplog.text


def test_a_faulty_template_is_said_at_once(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, first=1, found=2, listed=2, folders=2)
    with pytest.raises(UserError, match="no place for the number of a frame"):
        open_train_index(DataOptions(train=str(path), source="rawframes", template="img.jpg"))


class Counting(Direct):
    """Counts the listings of folders."""

    listed = 0

    def list(self, folder: str) -> Sequence[str]:
        self.listed += 1
        return super().list(folder)


def test_a_jpeg_that_claims_a_senseless_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    write_frame(tmp_path / "1.jpg", 1)
    data = bytearray((tmp_path / "1.jpg").read_bytes())
    start = data.index(b"\xff\xc0") + 5  # of height and width in the frame header
    data[start : start + 4] = b"\xf0\x00\xf0\x00"
    (tmp_path / "1.jpg").write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MediaError, match="of a senseless size"):
        open_rawframes(str(tmp_path)).frames([0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB; its pixels are 11 GiB


def test_folders_that_are_named_alike_are_not_listed_for_each_sample(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, first=0, found=6, listed=6)
    options = DataOptions(train=str(path), source="rawframes")
    storage = Counting()
    made = with_usual_names(replace(opener(options, str(tmp_path / "v0")), storage=storage), open_train_index(options))
    before = storage.listed
    video = made.open(str(tmp_path / "v3"), 6)
    expected = by_pillow(tmp_path / "v3" / "img_00004.jpg")
    assert (video.frames([4]).int() - expected.int()).abs().max() <= 2
    assert storage.listed == before


@pytest.mark.parametrize("names", [["a1.jpg", "a2.jpg", "a3.jpg"], ["img_1.jpg", "img_2.jpg", "img_4.jpg"]])
def test_a_folder_that_is_named_otherwise_is_listed(tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        write_frame(tmp_path / name, number)
    video = open_rawframes(str(tmp_path), count=3, usual=Numbered("img_{}.jpg", 1, 0))
    frames = video.frames([2, 0])
    assert (frames.int() - by_pillow(tmp_path / names[2], tmp_path / names[0]).int()).abs().max() <= 2


def test_a_missing_frame_of_a_folder_named_as_usual_is_named(tmp_path: Path) -> None:
    write_frame(tmp_path / "img_1.jpg", 1)
    video = open_rawframes(str(tmp_path), count=2, usual=Numbered("img_{}.jpg", 1, 0))
    with pytest.raises(MediaError, match=r"holds 1 of the 2 frames listed: img_2\.jpg is missing"):
        video.frames([0, 1])


@given(st.integers(1, 12), st.integers(0, 120), st.integers(1, 6), st.sampled_from(["", "img_", "v1_", "{x}"]))
def test_a_numbering_is_found_where_one_gives_the_names(count: int, first: int, width: int, head: str) -> None:
    names = [f"{head}{number:0{width}}.jpg" for number in range(first, first + count)]
    found = numbering(names)
    if head == "{x}":
        assert found is None
    else:
        assert found is not None
        assert [*found] == names
        assert found[0:2] == names[0:2]
        assert numbering([*names, f"{head}{first + count + 1:0{width}}.jpg"]) is None
