"""From raw videos to segments with labels, in one command."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from kinema.api import evaluation_options, load_localizer, run_test, train
from kinema.cli import main
from kinema.data.readers.sources import open_video
from kinema.recipes import config_of
from kinema.tasks.localization.video.options import LocalizeOptions
from kinema.tasks.recognition.features.extraction import FeatureExtractor, extract_features
from kinema.tasks.recognition.features.options import ExtractOptions, FeatureOptions
from kinema.weights.find import find_model
from tests.data.drawn_videos import number_of, write_video

SMALL = {
    "data.workers": "0",
    "data.batch_size": "2",
    "data.parts": "20",
    "training.log_every": "1",
}
BMN = {
    "model.parts": "20",
    "model.samples": "4",
    "model.hidden_1d": "16",
    "model.hidden_3d": "16",
    "schedule.epochs": "2",
}


@pytest.fixture(scope="module")
def long_videos(sample: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of three clips each, their features and a ground truth."""
    folder = tmp_path_factory.mktemp("long")
    clips = sorted((sample / "train").glob("*/*.mp4"))
    database = {}
    for number in range(4):
        name, parts = f"long_{number}", clips[number :: len(clips) // 3][:3]
        lengths = write_joined(folder / "videos" / f"{name}.mp4", parts)
        start, end = lengths[0] / 10, (lengths[0] + lengths[1]) / 10
        database[name] = {
            "subset": "validation" if number == 3 else "training",
            "duration": sum(lengths) / 10,
            "annotations": [{"label": parts[1].parent.name, "segment": [start, end]}],
        }
    (folder / "truth.json").write_text(json.dumps({"database": database}))
    extract_features(
        ExtractOptions(
            model=tiny_run, videos=(str(folder / "videos"),), output=folder / "features", stride=2, workers=1
        )
    )
    return folder


def write_joined(path: Path, clips: list[Path]) -> list[int]:
    """Write clips one after the other at 10 frames/s; returns their numbers of frames."""
    path.parent.mkdir(exist_ok=True)
    parts = [(video := open_video(str(clip))).frames(range(len(video))).numpy() for clip in clips]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", 10)
        stream.height, stream.width = parts[0].shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in np.concatenate(parts):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        file.mux(stream.encode(None))
    return [len(part) for part in parts]


@pytest.fixture(scope="module", params=["bmn", "bsn"])
def localizer(request: pytest.FixtureRequest, long_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    channels = str(np.load(next((long_videos / "features").glob("*.npy"))).shape[1])
    places = {"data.ground_truth": str(long_videos / "truth.json"), "data.features": str(long_videos / "features")}
    if request.param == "bmn":
        own = {**BMN, "model.feature_channels": channels, "schedule.milestones": "1"}
    else:
        own = {"tem.model.feature_channels": channels}
        for stage in ("tem", "pem"):
            own |= {f"{stage}.schedule.epochs": "2", f"{stage}.schedule.milestones": "1"}
    work_dir = tmp_path_factory.mktemp(request.param)
    own = {key: value for key, value in own.items() if request.param == "bmn" or key != "training.log_every"}
    values = {
        **{k: v for k, v in SMALL.items() if request.param == "bmn" or not k.startswith("training")},
        **places,
        **own,
    }
    train(config_of(f"{request.param}_64x50_small_feature", values), work_dir=work_dir)
    return work_dir


def test_windows_of_raw_videos_are_those_of_the_test(long_videos: Path, tmp_path: Path) -> None:
    """Proposals of a raw video, whose features are extracted block by block, equal those of its features' file."""
    channels = str(np.load(next((long_videos / "features").glob("*.npy"))).shape[1])
    values = SMALL | BMN | {
        "data.ground_truth": str(long_videos / "truth.json"), "data.features": str(long_videos / "features"),
        "data.windows.seconds": "6", "schedule.milestones": "1", "model.feature_channels": channels,
    }  # fmt: skip
    train(config_of("bmn_64x50_small_feature", values), work_dir=tmp_path)
    run_test(tmp_path, evaluation_options(tmp_path), folder=tmp_path / "test")
    (tested,) = json.loads((tmp_path / "test" / "results.json").read_text())["results"].values()
    localizer = load_localizer(tmp_path, LocalizeOptions(labels="none", most=10_000))
    found = localizer.localize(long_videos / "videos" / "long_3.mp4").found
    assert len(tested) == len(found.scores) > 100
    np.testing.assert_allclose(found.scores, [each["score"] for each in tested], rtol=1e-3, atol=1e-6)
    strong = found.scores > 2 * found.scores.min()
    segments = np.array([each["segment"] for each in tested])
    np.testing.assert_allclose(found.segments[strong], segments[strong], atol=1e-6)
    assert segments.max() > 8 > np.diff(segments).max()


def test_one_command_from_a_video_to_segments(
    localizer: Path, long_videos: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = long_videos / "videos" / "long_3.mp4"
    plot, output = tmp_path / "timeline.png", tmp_path / "results.json"
    arguments = [str(localizer), str(video), "--plot", str(plot), "--output", str(output), "--most", "5", "--json"]
    assert main(["localize", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    written = json.loads(output.read_text())
    assert list(written.pop("kinema")["videos"]) == ["long_3"]
    assert found == written
    (instances,) = found["results"].values()
    assert list(found["results"]) == ["long_3"]
    assert 0 < len(instances) <= 5
    seconds = json.loads((long_videos / "truth.json").read_text())["database"]["long_3"]["duration"]
    classes = json.loads((find_model(tiny_run) / "model.json").read_text())["classes"]
    for instance in instances:
        start, end = instance["segment"]
        assert 0 <= start < end <= seconds + 1e-6
        assert instance["label"] in classes
    scores = [instance["score"] for instance in instances]
    assert scores == sorted(scores, reverse=True)
    with Image.open(plot) as picture:
        assert picture.width > 1000
    evaluated = ["evaluate", "proposals", "--ground-truth", str(long_videos / "truth.json"), "--results", str(output)]
    assert main([*evaluated, "--json"]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["AUC"] <= 1


@pytest.mark.parametrize("family", ["actionformer", "tridet"])
def test_a_detector_answers_raw_videos_as_in_its_test(
    family: str, long_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With labels of its own, in windows, from features that are extracted block by block."""
    channels = str(np.load(next((long_videos / "features").glob("*.npy"))).shape[1])
    values = {
        "data.ground_truth": str(long_videos / "truth.json"), "data.features": str(long_videos / "features"),
        "data.workers": "0", "data.batch_size": "2", "data.val_batch_size": "1", "data.max_length": "32",
        "data.windows.points": "32", "model.feature_channels": channels, "model.width": "16",
        "schedule.epochs": "1", "schedule.warmup_epochs": "0",
    }  # fmt: skip
    train(config_of(f"{family}_64_small_feature", values), work_dir=tmp_path / "run")
    run_test(tmp_path / "run", evaluation_options(tmp_path / "run"), folder=tmp_path / "test")
    (tested,) = json.loads((tmp_path / "test" / "results.json").read_text())["results"].values()
    video = long_videos / "videos" / "long_3.mp4"
    assert main(["localize", str(tmp_path / "run"), str(video), "--most", "20", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"].values()
    truth = json.loads((long_videos / "truth.json").read_text())["database"]
    labels = {each["label"] for entry in truth.values() for each in entry["annotations"]}
    assert 0 < len(found) <= 20
    assert {one["label"] for one in found} <= labels
    np.testing.assert_allclose([one["score"] for one in found], [one["score"] for one in tested[:20]], rtol=1e-3)


def test_a_segment_is_labelled_by_what_is_seen_in_it(localizer: Path, long_videos: Path, tiny_run: Path) -> None:
    video = str(long_videos / "videos" / "long_0.mp4")
    options = LocalizeOptions(top_classes=3, most=30)
    found = load_localizer(localizer, options).localize(video)
    assert found.found.labels is not None
    plain = load_localizer(localizer, LocalizeOptions(labels="none", most=1000)).localize(video).found
    extracted = FeatureExtractor(tiny_run, FeatureOptions(stride=2, layer="scores")).extract(video)
    rows = extracted.values.astype(float)
    assert extracted.span is not None
    for segment, score, label in zip(found.found.segments, found.found.scores, found.found.labels, strict=True):
        first, last = extracted.span.fractions(segment) * len(rows)
        seen = [row for number, row in enumerate(rows) if number + 1 > first + 1e-6 and number < last - 1e-6]
        mean = np.mean(seen, axis=0)
        assert label in np.argsort(-mean)[:3]
        own = plain.scores[np.argmin(np.abs(plain.segments - segment).sum(axis=1))]
        assert score == pytest.approx(own * mean[label], rel=1e-4)


def test_a_classifier_of_its_own_sees_the_same_frames_which_are_decoded_once(
    localizer: Path, long_videos: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is the network of the features with its classes in reverse order."""
    shutil.copytree(find_model(tiny_run), tmp_path / "reversed")
    file = tmp_path / "reversed" / "model.safetensors"
    weights = load_file(file)
    save_file({name: each.flip(0) if name.startswith("fc.") else each for name, each in weights.items()}, file)
    video, read = str(long_videos / "videos" / "long_1.mp4"), list[int]()
    expected = load_localizer(localizer, LocalizeOptions(top_classes=2)).localize(video)
    reader = type(open_video(video))
    frames = reader.frames
    monkeypatch.setattr(
        reader, "frames", lambda self, indices, **given: read.extend(indices) or frames(self, indices, **given)
    )
    found = load_localizer(localizer, LocalizeOptions(top_classes=2, classifier=tmp_path / "reversed")).localize(video)
    assert found.found.labels is not None
    assert expected.found.labels is not None
    assert (len(found.classes) - 1 - found.found.labels).tolist() == expected.found.labels.tolist()
    np.testing.assert_allclose(found.found.segments, expected.found.segments)
    np.testing.assert_allclose(found.found.scores, expected.found.scores, rtol=1e-4)
    assert read == sorted(set(read))


def test_frames_of_a_variable_rate_are_those_of_their_time(localizer: Path, tmp_path: Path) -> None:
    """What the timeline shows: of 40 frames in 20 s and 40 in one more, half the video is not half the frames."""
    times = [*range(0, 40 * 15, 15), *range(600, 640)]  # of 1/30 s
    write_video(tmp_path / "variable.mp4", times=times, time_base=Fraction(1, 30))
    video = load_localizer(localizer, LocalizeOptions()).open(tmp_path / "variable.mp4")
    assert len(video) == 80
    half = number_of(video.frames([40])[0])
    assert abs(times[half] / 30 - 640 / 30 / 2) < 0.5


def test_long_videos_are_warned_of(localizer: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(tmp_path / "long.mp4", times=range(60), time_base=Fraction(3))
    found = load_localizer(localizer, LocalizeOptions()).localize(tmp_path / "long.mp4")
    assert found.seconds == pytest.approx(180)
    assert "it lasts 180 s, so that the shortest segment of a localizer of 20 points is 9.0 s long" in caplog.text


def test_background_is_no_answer(localizer: Path, long_videos: Path) -> None:
    video = str(long_videos / "videos" / "long_1.mp4")
    found = load_localizer(localizer, LocalizeOptions(top_classes=3, most=50)).localize(video)
    assert found.found.labels is not None
    name = found.classes[found.found.labels[0]]
    other = load_localizer(localizer, LocalizeOptions(top_classes=3, most=50, background=name)).localize(video).found
    assert other.labels is not None
    assert name in {found.classes[label] for label in found.found.labels}
    assert name not in {found.classes[label] for label in other.labels}


def test_faults(
    localizer: Path, long_videos: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = str(long_videos / "videos" / "long_0.mp4")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    for arguments, said in (
        ([str(localizer)], "pass at least one video"),
        ([str(tiny_run), video, "--features", str(tmp_path)], "--features is for trained localizers"),
        (
            [str(localizer), video, "--features", str(tmp_path)],
            "records how the localizer's features are extracted",
        ),
        ([str(localizer), str(tmp_path / "none.mp4")], "no such video"),
        ([str(localizer), str(broken)], "broken.mp4"),
        ([str(localizer), video, "--most", "0"], "at least 1"),
        ([str(localizer), video, "--background", "moving_upp"], "did you mean 'moving_up'"),
        ([str(localizer), video, video.replace("_0", "_1"), "--plot", str(tmp_path / "a.png")], "pass a folder"),
    ):
        assert main(["localize", *arguments]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_folder_is_localized_once(
    localizer: Path, long_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures and hidden files are no videos, outputs keep the folders, and what the file has is not made again."""
    for name in ("a/01.mp4", "b/01.mp4", "b/02 [x].mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).symlink_to(long_videos / "videos/long_3.mp4")
    (tmp_path / "in/poster.jpg").write_bytes(b"no picture")
    (tmp_path / "in/._01.mp4").write_bytes(b"no video")
    output, plots = tmp_path / "found.json", tmp_path / "plots"
    command = ["localize", str(localizer), str(tmp_path / "in"), "--output", str(output), "--most", "2"]
    assert main([*command, "--plot", str(plots)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if " – " not in line] == ["a/01", "b/01", "02 [x]"]
    assert sorted(path.relative_to(plots).as_posix() for path in plots.rglob("*.png")) == [
        "a/01.png", "b/01.png", "b/02 [x].png",
    ]  # fmt: skip
    first = output.read_text()
    drawn = {path: path.stat().st_mtime_ns for path in plots.rglob("*.png")}

    assert main([*command, "--plot", str(plots), "--json"]) == 0
    captured = capsys.readouterr()
    assert "has the answers of 3 of 3 videos" in captured.err
    assert json.loads(captured.out)["results"] == json.loads(first)["results"]
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    # An answer that is not there is made, the others stay; with other options all are made.
    content = json.loads(first)
    del content["kinema"]["videos"]["02 [x]"], content["results"]["02 [x]"]
    output.write_text(json.dumps(content))
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "has the answers of 2 of 3 videos" in captured.err
    assert captured.out.splitlines()[0] == "02 [x]"
    assert json.loads(output.read_text()) == json.loads(first)
    assert main([*command, "--top-classes", "2"]) == 0
    assert "has the answers" not in capsys.readouterr().err
    assert main(["localize", str(localizer), str(tmp_path / "in/a"), "--plot", "x.jpg"]) == 2
    assert "allowed: .png" in capsys.readouterr().err
