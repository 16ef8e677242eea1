"""Features of whole videos: clips where they should be, the same answers as clip by clip, outputs that go on."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kinema.cli import main
from kinema.data import clips_along
from kinema.data.crops import ViewCrops, crop_views
from kinema.data.features.source import FeatureSource
from kinema.data.readers.rawframes import open_rawframes
from kinema.data.readers.sources import open_video
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.errors import UserError
from kinema.models.tsn import TSNOptions
from kinema.prepare.frames import prepare_frames
from kinema.prepare.options import FramesOptions, PackOptions
from kinema.prepare.pack import prepare_pack
from kinema.prepare.work.jobs import Summary
from kinema.storage import Direct
from kinema.tasks.models import load_model, read_description
from kinema.tasks.recognition.features import extraction as module
from kinema.tasks.recognition.features.extraction import FeatureExtractor, clip_frames, extract_features
from kinema.tasks.recognition.features.options import ExtractOptions, FeatureOptions
from kinema.weights.find import find_model
from kinema.weights.model_files import save_model
from tests.data.drawn_videos import FRAMES, write_video


def extract(model: Path, video: Path, output: Path, **options: Any) -> Summary:
    """`kinema prepare features MODEL VIDEO --output OUTPUT …`."""
    return extract_features(ExtractOptions(model=model, videos=(str(video),), output=output, **options))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        write_video(tmp_path / "videos" / f"{name}.mp4", times=range(FRAMES if name != "c" else 5))
    return tmp_path / "videos"


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.booleans(), st.integers(1, 80))
def test_clips_lie_around_their_middles(
    num_frames: int, clip_len: int, interval: int, segments: int, joined: bool, window: int
) -> None:
    sampling = Sampling(clip_len=clip_len, frame_interval=interval, num_clips=segments, joined=joined)
    centres = np.array([0.5, num_frames / 3, num_frames - 0.5])
    expected = []
    for centre in centres:
        frames = []
        for segment in range(segments if joined else 1):
            middle = centre - window / 2 + (segment + 0.5) * window / segments if joined else centre
            for step in range(clip_len):
                frame = math.floor(middle - clip_len * interval / 2 + step * interval + 1e-9)
                frames.append(min(max(frame, 0), num_frames - 1))
        expected.append(frames)
    found = clip_frames(sampling, centres + 1e-9, window=window, num_frames=num_frames)
    assert found.tolist() == expected


def by_hand(
    run: Path, video: Path, centres: list[float], window: int, shown: Sequence[int] = range(10**6)
) -> np.ndarray:
    """Each clip decoded, cropped and judged alone: probabilities (clips, classes).

    `shown` are the frames of the video at a constant rate.
    """
    model, description = load_model(find_model(run))
    reader, segments = open_video(str(video)), description.data.test_views.sampling.num_clips
    crops = replace(description.data.test_views.crops, crops="center")
    rows = []
    for centre in centres:
        middles = [centre - window / 2 + (k + 0.5) * window / segments for k in range(segments)]
        frames = [min(max(math.floor(middle - 0.5), 0), len(reader) - 1) for middle in middles]
        clip = crop_views(reader.frames([shown[frame] for frame in frames])[None], crops).transpose(1, 2)
        with torch.inference_mode():
            rows.append(model(clip)[0].softmax(0).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("at_once", [8, 20, 10**6])
def test_the_same_as_clip_by_clip_however_many_at_a_time(
    tiny_run: Path, videos: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FRAMES_AT_ONCE", at_once)
    by_stride = FeatureExtractor(tiny_run, FeatureOptions(layer="scores", stride=7, window=20))
    found = by_stride.extract(str(videos / "a.mp4"))
    assert (found.frames, found.fps, found.duration, found.stride) == (FRAMES, 25, FRAMES / 25, 7)
    expected = by_hand(tiny_run, videos / "a.mp4", [7 * (t + 0.5) for t in range(9)], 20)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)

    in_parts = FeatureExtractor(tiny_run, FeatureOptions(layer="scores", parts=13))
    found = in_parts.extract(str(videos / "c.mp4"))
    assert found.stride == 5 / 13
    expected = by_hand(tiny_run, videos / "c.mp4", [5 / 13 * (t + 0.5) for t in range(13)], 32)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)


def test_a_cpu_computes_64_frames_at_a_time(tiny_run: Path, videos: Path) -> None:
    """Larger parts are no faster there, and their memory is kept, more of it with each length of a video."""
    extractor, computed = FeatureExtractor(tiny_run, FeatureOptions(layer="logits", stride=2)), list[int]()
    extractor._model.register_forward_pre_hook(lambda _, given: computed.append(given[0].shape[0] * given[0].shape[2]))
    found = extractor.extract(str(videos / "a.mp4"))
    assert max(computed) == 64
    assert sum(computed) == 8 * len(found.values) > 64


def test_rows_are_even_in_time_whatever_the_frame_rate(tiny_run: Path, tmp_path: Path) -> None:
    """36 frames in 9 s, then 90 in 3 s: row t shows what a player shows from t · stride / fps on."""
    times = [*range(0, 36 * 10, 10), *(360 + second * 4 // 3 for second in range(90))]  # of 1/40 s
    video = tmp_path / "variable.mkv"
    write_video(video, times=times, time_base=Fraction(1, 40))
    found = FeatureExtractor(tiny_run, FeatureOptions(layer="scores", stride=7, window=20)).extract(str(video))
    assert found.fps == pytest.approx(10.5, rel=0.01)
    assert (found.frames, len(found.values)) == (126, 18)
    assert found.span is not None
    assert (found.span.start, found.span.end, found.span.last) == pytest.approx((0, 12, 12), rel=0.01)
    shown = [max(k for k, time in enumerate(times) if time / 40 <= (i + 0.5) / found.fps + 1e-6) for i in range(126)]
    expected = by_hand(tiny_run, video, [7 * (t + 0.5) for t in range(18)], 20, shown)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)


def test_a_video_shorter_than_a_stride_has_one_row(tiny_run: Path, videos: Path) -> None:
    found = FeatureExtractor(tiny_run, FeatureOptions(stride=100)).extract(str(videos / "c.mp4"))
    assert len(found.values) == 1


def test_few_frames_are_decoded_at_a_time_and_each_once(
    tiny_run: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = FeatureOptions(stride=1)
    expected = FeatureExtractor(tiny_run, options).extract(str(videos / "a.mp4")).values
    monkeypatch.setattr(clips_along, "_DECODED_BYTES", 20 * 64 * 48 * 3)
    asked: list[list[int]] = []
    frames = type(open_video(str(videos / "a.mp4"))).frames
    monkeypatch.setattr(
        type(open_video(str(videos / "a.mp4"))),
        "frames",
        lambda reader, indices, *, more: asked.extend([indices]) or frames(reader, indices, more=more),
    )
    np.testing.assert_allclose(
        FeatureExtractor(tiny_run, options).extract(str(videos / "a.mp4")).values, expected, atol=1e-5
    )
    assert max(map(len, asked)) == 20
    assert [index for indices in asked for index in indices] == list(range(FRAMES))  # each once, in order


def test_every_format_holds_the_same(tiny_run: Path, videos: Path, tmp_path: Path) -> None:
    width = load_model(find_model(tiny_run))[0].fc.in_features
    places = {"npy": tmp_path / "npy", "csv": tmp_path / "csv", "packed": tmp_path / "packed"}
    for format_, place in places.items():
        summary = extract(tiny_run, videos, place, format=format_, workers=1)
        assert (summary.done, summary.kept, summary.exit_code) == (3, 0, 0)
    places["safetensors"] = places["packed"] / "features.safetensors"
    read = {
        name: FeatureSource(str(place), storage=Direct(), parts=None, channels=width) for name, place in places.items()
    }
    for name, source in read.items():
        assert set(source.videos) == {"a", "b", "c"}, name
        for video in "abc":
            assert torch.equal(source.read(video), read["npy"].read(video)), name
    assert load_file(places["safetensors"])["a"].shape == (4, width)
    record = json.loads((places["csv"] / "a.json").read_text())
    assert record == {"frames": 60, "fps": 25, "duration": 2.4, "stride": 16, "rows": 4, "channels": width}


def test_videos_of_a_list_with_any_number_of_labels(tiny_run: Path, videos: Path, tmp_path: Path) -> None:
    """The labels do not matter here, but the list has to be understood."""
    (videos / "list.txt").write_text("a.mp4 0 3\nc.mp4 2\n")
    command = ["prepare", "features", str(tiny_run), str(videos / "list.txt"), "--workers", "1"]
    assert main([*command, "--output", str(tmp_path / "out"), "--labels", "multi"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.npy")) == ["a.npy", "c.npy"]


def test_packed_frames_have_the_features_of_their_folders(tiny_run: Path, videos: Path, tmp_path: Path) -> None:
    prepare_frames(FramesOptions(source=videos, output=tmp_path / "frames", short_side=0, workers=1))
    prepare_pack(PackOptions(source=tmp_path / "frames", output=tmp_path / "packed", kind="rawframes", workers=1))
    for source, place in (("rawframes", "frames"), ("packed", "packed")):
        assert extract(tiny_run, tmp_path / place, tmp_path / f"of_{source}", source=source, workers=1).done == 3
    for name in "abc":
        found, expected = (np.load(tmp_path / f"of_{source}" / f"{name}.npy") for source in ("packed", "rawframes"))
        assert np.array_equal(found, expected)


def test_it_goes_on_and_lists_what_failed(tiny_run: Path, videos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (videos / "bad.mp4").write_bytes(b"no video")
    summary = extract(tiny_run, videos, output, workers=2)
    assert (summary.done, summary.exit_code) == (3, 1)
    assert "bad.mp4" in (output / "failures.csv").read_text()
    assert sorted(path.name for path in output.glob("*.npy")) == ["a.npy", "b.npy", "c.npy"]
    times = {path: path.stat().st_mtime_ns for path in output.glob("*.npy")}
    (output / "b.npy").unlink()
    (videos / "bad.mp4").unlink()
    summary = extract(tiny_run, videos, output, workers=1)
    assert (summary.done, summary.kept) == (1, 2)
    assert [path.name for path in times if path.stat().st_mtime_ns != times[path]] == ["b.npy"]
    with pytest.raises(UserError, match=r"features.json: .* other options: stride 16 \(now 8\)"):
        extract(tiny_run, videos, output, stride=8, workers=1)


def test_names_must_differ(tiny_run: Path, videos: Path, tmp_path: Path) -> None:
    (videos / "more").mkdir()
    write_video(videos / "more" / "a.mp4", times=range(5))
    with pytest.raises(UserError, match=r"would both be written to '.*a.npy'"):
        extract(tiny_run, videos, tmp_path / "out")


def test_other_weights_are_not_taken_for_the_same(tiny_run: Path, videos: Path, tmp_path: Path) -> None:
    model, description = load_model(find_model(tiny_run))
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder, model.state_dict(), description)
    extract(folder, videos / "c.mp4", tmp_path / "out", workers=1)
    save_model(folder, {name: weight * 2 for name, weight in model.state_dict().items()}, description)
    with pytest.raises(UserError, match="written with other options: weights"):
        extract(folder, videos / "c.mp4", tmp_path / "out", workers=1)
    extract(folder, videos / "c.mp4", tmp_path / "other", workers=1)
    assert not np.allclose(np.load(tmp_path / "out" / "c.npy"), np.load(tmp_path / "other" / "c.npy"))


def test_folders_of_images_and_of_flow(tiny_run: Path, videos: Path, tmp_path: Path) -> None:
    prepare_frames(FramesOptions(source=videos, output=tmp_path / "frames", short_side=0, quality=100, workers=1))
    extract(tiny_run, tmp_path / "frames", tmp_path / "out", layer="scores", source="rawframes", fps=25, workers=1)
    from_video = FeatureExtractor(tiny_run, FeatureOptions(layer="scores")).extract(str(videos / "a.mp4"))
    np.testing.assert_allclose(np.load(tmp_path / "out" / "a.npy"), from_video.values, atol=0.02)
    assert json.loads((tmp_path / "out" / "a.json").read_text())["duration"] == 2.4
    assert len(open_rawframes(str(tmp_path / "frames" / "a"))) == FRAMES


def test_a_flow_model_reads_flow(tiny_run: Path, tmp_path: Path) -> None:
    from PIL import Image

    description = read_description(find_model(tiny_run))
    views = Views(
        sampling=Sampling(clip_len=5, num_clips=3, joined=True), crops=ViewCrops(short_side=32, size=32, crops="ten")
    )
    options = TSNOptions(num_classes=4, depth=18, width=8, flow_fields=5, pretrained="none")
    described = replace(
        description, model=options, classes=tuple("abcd"),
        data=replace(description.data, source="flow", test_views=views),
    )  # fmt: skip
    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", options.build().state_dict(), described)
    (tmp_path / "flow" / "v").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 31):
        for axis in "xy":
            pixels = rng.integers(0, 256, (40, 48), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "flow" / "v" / f"flow_{axis}_{number:05}.png")
    extract(tmp_path / "model", tmp_path / "flow", tmp_path / "out", layer="logits", parts=10, workers=1)
    assert np.load(tmp_path / "out" / "v.npy").shape == (10, 4)
    with pytest.raises(UserError, match="--source video: the model was trained on flow"):
        FeatureExtractor(tmp_path / "model", FeatureOptions(source="video"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "--stride: found 0; allowed: an integer at least 1"),
        ({"parts": -1}, "--parts: found -1; allowed: an integer at least 0"),
        ({"source": "flow"}, "--source flow: the model was trained on video"),
    ],
)
def test_faulty_options(options: dict[str, object], message: str, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        extract(tiny_run, tmp_path, tmp_path / "out", **options)


def test_the_command(tiny_run: Path, videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:

    output = tmp_path / "out"
    command = ["prepare", "features", str(tiny_run), str(videos), "--output", str(output), "--parts", "10"]
    assert main([*command, "--format", "csv", "--layer", "scores", "--workers", "1"]) == 0
    rows = np.loadtxt(output / "a.csv", delimiter=",", skiprows=1)
    assert rows.shape == (10, 8)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
    assert main(["prepare", "features", str(tmp_path / "none"), str(videos), "--output", str(output)]) == 2
    assert main(["prepare", "features", str(tiny_run), str(tmp_path / "none"), "--output", str(output)]) == 2
    assert f"no file or folder '{tmp_path / 'none'}'" in capfd.readouterr().err


@pytest.mark.slow
def test_on_a_cluster(tiny_run: Path, videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    extract(tiny_run, videos, tmp_path / "here", workers=1)
    summary = extract(tiny_run, videos, tmp_path / "there", workers=2, cluster="local")
    assert (summary.done, summary.exit_code) == (3, 0)
    for name in "abc":
        one, other = (np.load(tmp_path / place / f"{name}.npy") for place in ("here", "there"))
        np.testing.assert_allclose(one, other, atol=1e-5)
