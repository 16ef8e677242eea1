"""Scores along a video, against decoding all of it and choosing frames by their times."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import kinema
from kinema.data.crops import ViewCrops, crop_views
from kinema.data.readers.sources import open_video
from kinema.data.readers.timed_video import frame_times
from kinema.data.sampling import Sampling, sample_test
from kinema.data.streams.background import InBackground
from kinema.data.streams.files import open_file
from kinema.data.streams.windows import WindowSampler, WindowSchedule
from kinema.data.views import Views
from kinema.errors import MediaError, UserError
from kinema.models.capabilities import HasInput, Input
from kinema.tasks.models import read_description
from kinema.tasks.recognition.predictor import RecognizerPredictor
from kinema.tasks.timeline.scorer import Statistics, clip_scorer, score_stream, score_video
from kinema.weights.find import find_model
from kinema.weights.model_files import save_model
from tests.models.families import RECOGNIZERS, small_options

SCHEDULE = WindowSchedule(every=0.4, window=1.2)


@pytest.fixture(scope="module")
def predictor(tiny_run: Path) -> RecognizerPredictor:
    model = kinema.load(tiny_run, device="cpu")
    assert isinstance(model, RecognizerPredictor)
    return model


def by_brute_force(predictor: RecognizerPredictor, video: Path) -> list[np.ndarray]:
    reader, times = open_video(str(video)), frame_times(str(video))
    frames, fps = reader.frames(range(len(reader))), open_file(str(video)).fps
    views, scores = predictor.views("test"), []
    duration = times[-1] + 1 / fps
    while True:
        start = len(scores) * SCHEDULE.every
        n = round(SCHEDULE.window * fps)
        moments = start + (sample_test(views.sampling, n) + 0.5) * SCHEDULE.window / n
        shown = np.searchsorted(times - 1e-3, moments, side="right").clip(1) - 1
        clips = crop_views(frames[torch.from_numpy(shown)], views.crops)
        scores.append(predictor.clip_scores(clips[None])[0].numpy())
        if start + SCHEDULE.window >= duration - 1e-3:
            return scores


def test_scores_are_those_of_frames_chosen_by_time(predictor: RecognizerPredictor, long_video: Path) -> None:
    expected = by_brute_force(predictor, long_video)
    assert len(expected) > 10
    for batch in (0, 1, 5):
        stream = open_file(str(long_video))
        answers = list(score_stream(predictor, stream, SCHEDULE, views="test", batch=batch))
        assert [one.index for one in answers] == [*range(len(expected))]
        assert np.allclose([one.scores for one in answers], expected, atol=1e-6)
        assert all(one.latency >= 0 for one in answers)
    assert np.ptp([one.scores[0] for one in answers]) > 1e-3, "the test's own video"


def test_a_run_goes_on_bit_by_bit_where_it_was_stopped(predictor: RecognizerPredictor, long_video: Path) -> None:
    whole = list(score_video(predictor, open_file(str(long_video)), SCHEDULE, batch=4))
    for known in (0, 3, 4, 11, len(whole), len(whole) + 3):
        rest = list(score_video(predictor, open_file(str(long_video)), SCHEDULE, known=known, batch=4))
        assert [one.index for one in rest] == [*range(known, len(whole))]
        assert all(np.array_equal(a.scores, b.scores) for a, b in zip(rest, whole[known:], strict=True))


def test_an_iteration_that_ends_early_leaves_no_thread(predictor: RecognizerPredictor, long_video: Path) -> None:
    before = set(threading.enumerate())  # live streams of other tests may still be ending
    answers = score_stream(predictor, open_file(str(long_video)), SCHEDULE, batch=1)
    next(answers)
    started = set(threading.enumerate()) - before
    assert any(thread.name == "kinema-stream" for thread in started)
    answers.close()
    assert not any(thread.name == "kinema-stream" for thread in set(threading.enumerate()) - before)


def test_faults_come_after_the_items_before_them() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise MediaError("a", "it is damaged")

    taken = list[int]()
    with pytest.raises(MediaError, match="a: it is damaged"), InBackground(items(), ahead=2) as background:
        taken.extend(background)
    assert taken == [0, 1, 2, 3, 4]


def test_the_producer_stays_within_its_bound() -> None:
    produced = list[int]()

    def items() -> Iterator[int]:
        for number in range(100):
            produced.append(number)
            yield number

    with InBackground(items(), ahead=3) as background:
        taken = 0
        while (batch := background.take(2, wait_for=2)) is not None:
            taken += len(batch)
            assert len(produced) <= taken + 3 + 1 + 2  # what waits, what is in hand, and what is taken meanwhile
        assert taken == 100


def test_flow_is_refused(predictor: RecognizerPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor.description.data, "source", "flow")
    with pytest.raises(UserError, match="takes optical flow, which is not computed along a video"):
        predictor.views("val")


def test_a_model_that_does_not_score_clips() -> None:
    with pytest.raises(UserError, match="timelines need a recognizer"):
        clip_scorer(object())


def test_statistics(predictor: RecognizerPredictor, long_video: Path) -> None:
    statistics = Statistics()
    answers = list(score_video(predictor, open_file(str(long_video)), SCHEDULE))
    for answer in answers:
        statistics.add(answer)
    assert statistics.windows == len(answers)
    assert statistics.seconds == pytest.approx(answers[-1].end)
    for answer in answers[:3]:  # of another video
        statistics.add(answer)
    assert statistics.seconds == pytest.approx(answers[-1].end + answers[2].end)
    assert statistics.latency(0.5) == pytest.approx(np.median([one.latency for one in [*answers, *answers[:3]]]))


@pytest.mark.parametrize("which", [pytest.param("val", marks=pytest.mark.slow), "test"])
@pytest.mark.parametrize("name", RECOGNIZERS)
def test_every_network(
    name: str, which: Literal["val", "test"], tiny_run: Path, long_video: Path, tmp_path: Path
) -> None:
    """Batches of windows, of clips, segments and crops, are scored as each window alone is."""
    options = small_options(name)
    torch.manual_seed(0)
    network = options.build()
    shape = network.input if isinstance(network, HasInput) else Input(channels=3)
    frames, size = shape.frames or 8, shape.size or 64
    joined = name in ("tsn", "tsm", "timesformer")
    sampling = Sampling(clip_len=1 if joined else frames, num_clips=frames if joined else 2, joined=joined)
    description = read_description(find_model(tiny_run))
    views = Views(sampling=sampling, crops=ViewCrops(crops="three", short_side=size, size=size))
    data = replace(
        description.data, val_views=replace(views, crops=ViewCrops(short_side=size, size=size)), test_views=views
    )
    (tmp_path / "model").mkdir()
    classes = tuple("abcde")
    described = replace(description, model=options, classes=classes, data=data)
    save_model(tmp_path / "model", network.state_dict(), described)
    model = clip_scorer(kinema.load(tmp_path / "model", device="cpu"))
    schedule = WindowSchedule(every=1.5, window=2)
    answers = list(score_stream(model, open_file(str(long_video)), schedule, views=which, batch=3))
    sampler = WindowSampler(schedule, model.views(which), fps=open_file(str(long_video)).fps)
    alone = [model.clip_scores(one.clips()[None])[0] for one in sampler.windows(open_file(str(long_video)))]
    assert len(answers) == len(alone) > 3
    assert np.allclose([one.scores for one in answers], torch.stack(alone).numpy(), atol=1e-5)
    assert sum(answers[0].scores) == pytest.approx(1, abs=1e-5)
