"""The drawn sample: motions are what they are called, opposed clips differ in time only, files are there and whole."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinema.errors import UserError
from kinema.prepare.drawn.motion import PAIRS, Drawn, idle, performing
from kinema.prepare.drawn.sample import prepare_sample
from kinema.prepare.drawn.scene import LABELS, random_scene, render, render_clip
from kinema.prepare.options import SampleOptions

MOTIONS: tuple[Drawn, ...] = ("moving_right", "moving_down", "turning_clockwise", "growing")
seeds = st.integers(0, 10_000)
few = settings(max_examples=12, deadline=None)


def decode(path: Path) -> NDArray[np.uint8]:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def mp4s(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.mp4"))


def alone(motion: Drawn, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Frames of one performing object without others, and where it covers the background (T, H, W)."""
    scene = random_scene(motion, np.random.default_rng(seed))
    frames, empty = render(replace(scene, actors=scene.actors[-1:])), render(replace(scene, actors=()))
    return frames, np.abs(frames.astype(int) - empty).max(axis=-1) > 24


def centroids(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(T, 2) x and y, pixels."""
    return np.array([np.argwhere(frame).mean(axis=0)[::-1] for frame in mask])


def ring_profile(
    frame: NDArray[np.uint8], centre: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Colours (radii, 360, 3) on circles around a point, by degrees clockwise on the screen."""
    angle = np.deg2rad(np.arange(360))
    x = np.rint(centre[0] + radii[:, None] * np.cos(angle)).astype(int).clip(0, frame.shape[1] - 1)
    y = np.rint(centre[1] + radii[:, None] * np.sin(angle)).astype(int).clip(0, frame.shape[0] - 1)
    return frame[y, x].astype(float)


@given(seed=seeds)
@few
def test_the_two_clips_of_a_pair_are_each_other_backwards(seed: int) -> None:
    for forwards, backwards in PAIRS:
        np.testing.assert_array_equal(render_clip(forwards, seed), render_clip(backwards, seed)[::-1])


@pytest.mark.parametrize("label", LABELS)
def test_a_seed_gives_one_clip(label: str) -> None:
    clip = render_clip(label, (3, 1, 4))
    assert (clip.shape, clip.dtype) == ((32, 96, 128, 3), np.uint8)
    np.testing.assert_array_equal(clip, render_clip(label, [3, 1, 4]))
    assert (clip != render_clip(label, (3, 1, 5))).mean() > 0.5


@given(seed=seeds)
@few
def test_things_that_move_right_and_down_do(seed: int) -> None:
    for axis, motion in enumerate(MOTIONS[:2]):
        _, mask = alone(motion, seed)
        path = centroids(mask)
        gone = path[-1] - path[0]
        assert gone[axis] > 25
        assert abs(gone[1 - axis]) < gone[axis] / 2
        assert (np.diff(path[::4, axis]) > 0).all()


@given(seed=seeds)
@few
def test_things_that_turn_clockwise_do(seed: int) -> None:
    """Between frames 4 apart, the rotation that makes the pictures most alike is a small one, clockwise."""
    scene = random_scene("turning_clockwise", np.random.default_rng(seed))
    track = scene.actors[-1].track
    frames = render(replace(scene, actors=scene.actors[-1:]))
    radii = np.linspace(0.25, 0.95, 12) * track.radius[0]
    profiles = [
        ring_profile(frame, np.array([x, y]), radii) for frame, x, y in zip(frames, track.x, track.y, strict=True)
    ]
    turns = np.arange(-40, 41)
    found = []
    for before, after in zip(profiles[:-4], profiles[4:], strict=True):
        unlike = [np.abs(np.roll(before, turn, axis=1) - after).mean() for turn in turns]
        found.append(turns[np.argmin(unlike)])
    assert np.median(found) > 5
    assert np.mean(np.array(found) < 0) < 0.1


@given(seed=seeds)
@few
def test_things_that_turn_clockwise_bend_their_path_to_the_right(seed: int) -> None:
    """The cross product of successive steps is positive where the vertical axis points down."""
    track = performing("turning_clockwise", np.random.default_rng(seed))
    steps = np.diff(np.stack([track.x, track.y])[:, ::4])
    assert (steps[0, :-1] * steps[1, 1:] - steps[1, :-1] * steps[0, 1:] > 0).all()


@given(seed=seeds)
@few
def test_things_that_grow_do(seed: int) -> None:
    _, mask = alone("growing", seed)
    inside = mask.sum(axis=(1, 2))
    assert inside[-1] > 1.5 * inside[0]
    assert (np.diff(inside[::4]) > 0).all()


@given(seed=seeds)
@few
def test_what_performs_stays_in_the_square_in_the_middle(seed: int) -> None:
    """A centre crop must not lose the one thing that tells the class."""
    for motion in MOTIONS:
        track = performing(motion, np.random.default_rng(seed))
        assert (np.abs(track.x - 64) <= 48).all()
        assert (np.abs(track.y - 48) <= 48).all()


@given(seed=seeds)
@few
def test_idle_things_gain_nothing(seed: int) -> None:
    track = idle(np.random.default_rng(seed))
    for name in ("x", "y", "radius", "angle", "brightness"):
        values = getattr(track, name)
        np.testing.assert_allclose(values[0], values[-1], rtol=1e-4)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "new"
    done = prepare_sample(SampleOptions(folder=folder, train_per_class=3, val_per_class=2, seed=5, workers=2))
    assert (done.done, done.kept) == (40, 0)
    return folder


def test_every_class_has_its_folder_of_clips(sample: Path) -> None:
    names = [path.relative_to(sample).as_posix() for path in mp4s(sample)]
    counts = {"train": 3, "val": 2}
    assert names == [
        f"{split}/{label}/{label}_{index:04d}.mp4"
        for split in counts
        for label in LABELS
        for index in range(counts[split])
    ]


def test_files_are_h264_of_the_right_length_and_show_the_clip(sample: Path) -> None:
    for path in mp4s(sample / "val"):
        with av.open(path) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert (stream.width, stream.height, stream.average_rate, stream.frames) == (128, 96, 16, 32)
        clip = render_clip(path.parent.name, (5, 1, int(path.stem[-4:])))
        assert np.abs(decode(path).astype(int) - clip).mean() < 5


def test_train_and_val_share_no_clip(sample: Path) -> None:
    first = {path.read_bytes() for path in mp4s(sample / "train")}
    assert len(first) == 24
    assert not first & {path.read_bytes() for path in mp4s(sample / "val")}


def test_compression_is_as_good_at_the_beginning_as_at_the_end(sample: Path) -> None:
    """Otherwise the quality of a frame would tell how time runs in it."""
    errors = []
    for path in mp4s(sample / "train"):
        clip = render_clip(path.parent.name, (5, 0, int(path.stem[-4:])))
        errors.append(((decode(path).astype(float) - clip) ** 2).mean(axis=(1, 2, 3)))
    decibels = -10 * np.log10(np.array(errors)).mean(axis=0)
    assert np.abs(decibels[:8].mean() - decibels[-8:].mean()) < 0.5
    assert np.ptp(decibels) < 1.5


def test_the_number_of_workers_changes_nothing(sample: Path, tmp_path: Path) -> None:
    prepare_sample(SampleOptions(folder=tmp_path / "alone", train_per_class=3, val_per_class=2, seed=5, workers=1))
    for one, other in zip(mp4s(sample), mp4s(tmp_path / "alone"), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_second_call_makes_only_what_is_missing(tmp_path: Path) -> None:
    prepare_sample(SampleOptions(folder=tmp_path, train_per_class=2, val_per_class=1, workers=1))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in mp4s(tmp_path)}
    lost = list(before)[::5]
    for path in lost:
        path.unlink()
    done = prepare_sample(SampleOptions(folder=tmp_path, train_per_class=2, val_per_class=1, workers=1))
    assert (done.done, done.kept) == (len(lost), len(before) - len(lost))
    assert {path: path.read_bytes() for path in mp4s(tmp_path)} == {
        path: content for path, (content, _) in before.items()
    }
    assert all(path.stat().st_mtime_ns == time for path, (_, time) in before.items() if path not in lost)


def test_other_options_are_refused_by_name(sample: Path) -> None:
    before = mp4s(sample)
    with pytest.raises(UserError, match=r"sample\.json.*seed 5 \(now 6\)"):
        prepare_sample(SampleOptions(folder=sample, train_per_class=3, val_per_class=2, seed=6, workers=1))
    with pytest.raises(UserError, match=r"train_per_class 3 \(now 4\), val_per_class 2 \(now 1\)"):
        prepare_sample(SampleOptions(folder=sample, train_per_class=4, val_per_class=1, seed=5, workers=1))
    assert mp4s(sample) == before


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="other files"):
        prepare_sample(SampleOptions(folder=tmp_path, train_per_class=1, val_per_class=1, workers=1))
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


@pytest.mark.parametrize("option", ["train_per_class", "val_per_class", "seed"])
def test_numbers_out_of_range_are_refused_by_name(option: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--{option.replace('_', '-')}: found -1"):
        prepare_sample(SampleOptions(folder=tmp_path / "new", **{option: -1}))
    assert not (tmp_path / "new").exists()
