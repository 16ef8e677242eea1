"""Models in Python: what they take, what they return, what they say of faults."""

import io
from collections.abc import Iterator
from contextlib import closing
from itertools import repeat
from pathlib import Path
from threading import Event

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import kinema
from kinema.errors import MediaError, UserError
from kinema.prediction import Prediction
from kinema.tasks.recognition.predictor import RecognizerPredictor


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> RecognizerPredictor:
    model = kinema.load(tiny_run)
    assert isinstance(model, RecognizerPredictor)
    return model


@pytest.fixture(scope="module")
def clip(sample: Path) -> Path:
    return sorted(sample.glob("val/*/*.mp4"))[3]


@pytest.fixture(scope="module")
def frames(clip: Path) -> NDArray[np.uint8]:
    """The frames as PyAV decodes them; drawn clips have the usual colors, which Kinema converts to the same pixels."""
    with av.open(str(clip)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def equal(found: list[Prediction], expected: list[Prediction], tolerance: float = 1e-6) -> None:
    assert {one.label: one.score for one in found} == pytest.approx(
        {one.label: one.score for one in expected}, abs=tolerance
    )


def test_all_forms_of_a_video_have_the_same_answer(
    model: RecognizerPredictor, clip: Path, frames: NDArray[np.uint8]
) -> None:
    expected = model.predict(str(clip), top=8)
    assert sum(one.score for one in expected) == pytest.approx(1, abs=1e-5)
    equal(model.predict(clip, top=8), expected)
    equal(model.predict(clip.read_bytes(), top=8), expected)
    equal(model.predict(io.BytesIO(clip.read_bytes()), top=8), expected)
    with clip.open("rb") as file:
        equal(model.predict(file, top=8), expected)
    equal(model.predict(frames, top=8), expected, 0.005)
    equal(model.predict(torch.from_numpy(frames), top=8), model.predict(frames, top=8))
    equal(model.predict(np.asfortranarray(frames), top=8), model.predict(frames, top=8))


def test_a_list_has_an_answer_for_each(
    model: RecognizerPredictor, clip: Path, frames: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    videos = [clip, clip.read_bytes(), frames]
    for found, video in zip(model.predict(videos, top=3), videos, strict=True):
        assert found == model.predict(video, top=3)
    assert model.predict([]) == []
    assert not capsys.readouterr().err


def test_videos_are_read_while_the_network_computes(model: RecognizerPredictor, clip: Path) -> None:
    asked = [Event() for _ in range(3)]

    def videos() -> Iterator[Path]:
        for event in asked:
            event.set()
            yield clip

    seen = []
    hook = model._model.register_forward_pre_hook(lambda *_: seen.append(asked[len(seen) + 1].wait(20)))
    try:
        with closing(model.predict_each(videos(), top=8)) as answers:
            found = [next(answers), next(answers)]
    finally:
        hook.remove()
    assert seen == [True, True]
    assert found == [model.predict(clip, top=8)] * 2


def test_what_cannot_be_read_is_answered_in_its_turn(model: RecognizerPredictor, clip: Path) -> None:
    first, second, third = model.predict_each([clip, clip.parent / "missing.mp4", clip], top=3)
    assert first == third == model.predict(clip, top=3)
    assert isinstance(second, MediaError)
    assert second.path.endswith("missing.mp4")
    for refused in (model.predict, model.embed):
        with pytest.raises(MediaError, match=r"missing\.mp4"):
            refused([clip, clip.parent / "missing.mp4"])


def test_features_are_those_that_the_head_takes(model: RecognizerPredictor, clip: Path) -> None:
    features = model.embed(clip)
    assert features.shape == (model._model.head.in_features,)
    logits = model._model.head(features)
    assert model.description.data.test_views.shape[0] == 1  # else the mean probability is not that of the mean feature
    torch.testing.assert_close(logits.softmax(0), model.scores(clip), rtol=1e-4, atol=1e-5)
    both = model.embed([clip, clip])
    assert both.shape == (2, len(features))
    torch.testing.assert_close(both[1], features)


def test_an_endless_iterable_is_answered_as_it_comes(model: RecognizerPredictor, frames: NDArray[np.uint8]) -> None:
    taken = 0

    def camera() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        for frame in repeat(frames[0]):
            taken += 1
            yield frame

    answers = model.stream(camera(), every=0.5, window=1.0, fps=10, top=2)
    first, second = next(answers), next(answers)
    assert (first.start, first.end) == (0.0, 1.0)
    assert (second.start, second.end) == (0.5, 1.5)
    assert len(first.predictions) == 2
    answers.close()
    assert taken < 100


def test_windows_of_a_video_are_the_same_from_file_and_frames(
    model: RecognizerPredictor, clip: Path, frames: NDArray[np.uint8]
) -> None:
    with av.open(str(clip)) as file:
        rate = float(file.streams.video[0].average_rate)
    options = {"every": 0.5, "window": 1.0, "top": 8}
    expected = list(model.stream(clip, **options))
    assert len(expected) > 1
    sources = (clip.read_bytes(), frames, iter(frames), [*torch.from_numpy(frames)])
    for source in sources:
        fps = 0.0 if isinstance(source, bytes) else rate
        found = list(model.stream(source, **options, fps=fps))
        assert [(one.start, one.end) for one in found] == [(one.start, one.end) for one in expected]
        for one, other in zip(found, expected, strict=True):
            equal(list(one.predictions), list(other.predictions), 0.005)


@pytest.mark.parametrize(
    ("video", "said"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), r"float32 of shape \(4, 8, 8, 3\).*dtype uint8"),
        (np.zeros((4, 3, 8, 8), np.uint8), "channels come last"),
        (np.zeros((0, 8, 8, 3), np.uint8), "T ≥ 1"),
        (np.zeros((8, 8, 3), np.uint8), "frames\\[None\\]"),
        (torch.zeros((2, 4, 8, 8, 3), dtype=torch.uint8), "list of several"),
        (torch.zeros((4, 8, 8, 4), dtype=torch.uint8), r"\(T, H, W, 3\)"),
        (b"", "no bytes"),
        (3, "int is no video"),
        (None, "NoneType is no video"),
        (io.StringIO("text"), "opened as text"),
    ],
)
def test_what_is_no_video_is_said_in_one_message(model: RecognizerPredictor, video: object, said: str) -> None:
    for use in (model.predict, model.embed, model.scores, lambda one: model.predict([one])):
        if isinstance(video, io.StringIO):
            video.seek(0)
        with pytest.raises(UserError, match=said):
            use(video)  # type: ignore[operator]


def test_faults_of_streams_and_bytes(model: RecognizerPredictor, frames: NDArray[np.uint8]) -> None:
    with pytest.raises(UserError, match="pass fps"):
        model.stream(frames)
    with pytest.raises(UserError, match="int is no video"):
        model.stream(3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no video"):
        list(model.stream(iter([frames[0].astype(np.float32)]), fps=5))
    for content in (b"no video at all", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"):
        with pytest.raises(MediaError, match="a file in memory"):
            model.predict(content)


def test_a_model_says_what_it_is(model: RecognizerPredictor) -> None:
    from rich.pretty import pretty_repr

    said = repr(model)
    assert "tsm_r18_video_1x1x8_sample_rgb" in said
    assert "8 classes" in said
    assert "1 views of 8 frames of 32x32" in said
    assert "recipe='tsm_r18_video_1x1x8_sample_rgb'" in pretty_repr(model)
