"""Windows along live streams: the answers of the file, none piled up, none across an interruption."""

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kinema.data.crops import ViewCrops
from kinema.data.sampling import Sampling
from kinema.data.streams.files import open_file
from kinema.data.streams.live.address import live_address
from kinema.data.streams.live.stream import LiveStream
from kinema.data.streams.stream import RecordedStream
from kinema.data.streams.windows import WindowSchedule
from kinema.data.views import Views
from kinema.errors import StorageOutage
from kinema.tasks.timeline.events import Event, EventFinder
from kinema.tasks.timeline.live import LiveScorer, LiveScores
from kinema.tasks.timeline.scorer import WindowScores, score_stream
from kinema.tasks.timeline.segments import SegmentFinder, SegmentOptions
from tests.data.drawn_videos import write_video
from tests.data.streams.live_servers import FPS, paced, silence, streaming

FRAMES = 200
SCHEDULE = WindowSchedule(every=0.4, window=0.8)


class Brightness:
    """Scores of eight classes: the brightness of eight parts of the clip. Takes `seconds` for a batch."""

    classes = tuple("abcdefgh")
    folder = Path()
    frames_at_once = 64

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def stream(self, video: str | Path, *, fps: float = 0.0) -> RecordedStream:
        return open_file(str(video))

    def views(self, which: str) -> Views:
        return Views(sampling=Sampling(clip_len=4, frame_interval=2), crops=ViewCrops(short_side=32, size=32))

    def clip_scores(self, clips: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return (
            clips.float().mean((1, 2, 3)).unflatten(-2, (2, 16)).unflatten(-1, (4, 8)).mean((-1, -3)).flatten(1) / 255
        )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of MPEG-TS."""
    path = tmp_path_factory.mktemp("live") / "x.ts"
    write_video(path, times=range(FRAMES))
    return path


def scorer_of(url: str, predictor: Brightness, *, patience: float = 0, timeout: float = 0.5) -> LiveScorer:
    return LiveScorer(predictor, LiveStream(live_address(url), timeout=timeout, patience=patience), SCHEDULE)


def until_lost(scorer: LiveScorer) -> list[LiveScores]:
    """All answers of a stream that breaks off and does not come back."""
    answers = list[LiveScores]()
    with pytest.raises(StorageOutage):
        answers.extend(scorer.answers())
    return answers


def offline(file: Path) -> list[WindowScores]:
    return [*score_stream(Brightness(), open_file(str(file)), SCHEDULE)]


def same(answers: list[WindowScores], expected: list[WindowScores]) -> None:
    assert [(a.index, a.start, a.end) for a in answers] == [
        (e.index, pytest.approx(e.start), pytest.approx(e.end, abs=1e-3)) for e in expected
    ]
    for answer, other in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer.scores, other.scores, atol=1e-6)


def test_a_source_that_waits_gets_every_answer_of_the_file(file: Path) -> None:
    data, expected = file.read_bytes(), offline(file)
    assert len({tuple(one.scores.round(2)) for one in expected}) > len(expected) / 2  # they tell windows apart
    with streaming(lambda _: data) as server:
        scorer = scorer_of(server.url, Brightness(0.01))
        same([one.answer for one in scorer.answers()], expected)
    assert scorer.dropped == 0
    assert not scorer.is_stuck


def test_a_stream_at_its_own_pace_has_the_same_answers(file: Path) -> None:
    with streaming(lambda _: paced(file.read_bytes(), 1.5)) as server:
        scorer = scorer_of(server.url, Brightness())
        before = time.time()
        answers = until_lost(scorer)
    expected = {one.index: one for one in offline(file)}
    same([one.answer for one in answers], [expected[one.answer.index] for one in answers])
    assert len(answers) + scorer.dropped >= len(expected) - 2  # the last ones are cut off
    assert before <= answers[0].time <= answers[-1].time <= time.time()


def test_windows_that_come_too_late_are_dropped_and_counted(file: Path) -> None:
    slow, lasts = 0.25, 2.0
    with streaming(lambda _: paced(file.read_bytes(), lasts)) as server:
        scorer = scorer_of(server.url, Brightness(slow))
        answers = until_lost(scorer)
    indices, expected = [one.answer.index for one in answers], {one.index: one for one in offline(file)}
    assert indices == sorted(set(indices))
    assert 1 <= len(answers) <= 0.8 * len(expected)
    assert len(expected) - 2 <= len(answers) + scorer.dropped <= len(expected)
    same([one.answer for one in answers], [expected[index] for index in indices])
    # Windows come every 0.1 s. The newest one waits for one computation at most, and is then computed; a queue would
    # make each later than the one before it.
    assert np.median([one.answer.latency for one in answers]) < 3 * slow


def endless(data: bytes, parts: int) -> Iterator[bytes]:
    for _ in range(parts):
        yield from paced(data, 0.4)


@pytest.mark.slow
def test_memory_is_flat_where_the_network_is_slower_than_the_stream(tmp_path: Path) -> None:
    write_video(tmp_path / "x.ts", size=(640, 480), times=range(FRAMES))
    data, process, used = (tmp_path / "x.ts").read_bytes(), psutil.Process(os.getpid()), list[int]()
    with streaming(lambda _: endless(data, 20)) as server:
        scorer = scorer_of(server.url, Brightness(0.2))
        with pytest.raises(StorageOutage):
            used.extend(process.memory_info().rss for _ in scorer.answers())
    frames = scorer._stream.counts.frames
    assert frames > 3000
    assert scorer.dropped > 100
    third = len(used) // 3
    growth = max(used[third:]) - max(used[:third])
    assert growth < 0.02 * frames * 640 * 480 * 3  # what keeping a fiftieth of the frames would take


@pytest.mark.slow
def test_no_window_spans_an_interruption(file: Path) -> None:
    data = file.read_bytes()
    with streaming(lambda request: paced(data, 0.8) if request < 2 else 404) as server:
        scorer = LiveScorer(Brightness(), LiveStream(live_address(server.url), patience=1.5), SCHEDULE)
        answers = until_lost(scorer)
    connections = [one.connection for one in answers]
    assert sorted(set(connections)) == [0, 1]
    assert connections == sorted(connections)
    first = [one.answer for one in answers if one.connection == 0]
    second = [one.answer for one in answers if one.connection == 1]
    outage = scorer._stream.counts.outage_seconds
    assert first[-1].end <= FRAMES / FPS
    assert second[0].start >= FRAMES / FPS - 1 / FPS + outage
    assert second[0].start < FRAMES / FPS + outage + 3 * SCHEDULE.every  # begins with the first whole window


def test_a_silent_stream_is_closed_without_waiting_for_it(file: Path) -> None:
    with streaming(lambda _: itertools.chain([file.read_bytes()], silence(3))) as server:
        scorer = scorer_of(server.url, Brightness(), timeout=60)
        answers = scorer.answers()
        next(answers)
        time.sleep(0.5)  # all else is read meanwhile
        scorer._stream.close()
        began = time.monotonic()
        answers.close()
        assert time.monotonic() - began < 30
    assert scorer.is_stuck  # FFmpeg waits for the server, which ends the connection now


def curve(scores: list[float], *, every: float = 0.5, connections: list[int] | None = None) -> list[LiveScores]:
    """Answers for one class, one window of a second every half a second, on a wall clock that is 1000 s ahead."""
    return [
        LiveScores(
            answer=WindowScores(
                index=i, start=i * every, end=i * every + 1, scores=np.array([score], np.float32), latency=0.0
            ),
            time=1001 + i * every,
            connection=connections[i] if connections else 0,
        )
        for i, score in enumerate(scores)
    ]


def events_of(answers: list[LiveScores], options: SegmentOptions) -> list[Event]:
    finder = EventFinder(options, ["fall"], every=0.5)
    return [event for one in answers for event in finder.push(one)] + finder.finish()


@given(
    st.lists(st.floats(0, 1, width=16), max_size=40),
    st.builds(
        SegmentOptions,
        smoothing=st.sampled_from(["none", "median", "exponential"]),
        high=st.floats(0.5, 1),
        low=st.floats(0, 0.5),
        shortest=st.sampled_from([0.0, 1.0, 2.0]),
    ),
)
def test_events_are_the_segments_of_the_curve(scores: list[float], options: SegmentOptions) -> None:
    answers = curve(scores)
    finder = SegmentFinder(options, ["fall"], every=0.5)
    segments = [one for answer in answers for one in finder.push(answer.answer)] + finder.finish()
    events = events_of(answers, options)
    assert [event.kind for event in events] == ["start", "end"] * len(segments)
    assert [event.segment for event in events[1::2]] == segments
    assert [event.segment.start for event in events[::2]] == [segment.start for segment in segments]
    for event in events:
        assert event.start_time == pytest.approx(1000 + event.segment.start)
        assert event.end_time == pytest.approx(1000 + event.segment.end)


def test_a_start_is_said_when_it_is_known() -> None:
    finder = EventFinder(SegmentOptions(smoothing="none", high=0.8, low=0.4), ["fall"], every=0.5)
    said = [[event.kind for event in finder.push(one)] for one in curve([0.1, 0.5, 0.9, 0.9, 0.1, 0.9, 0.1])]
    assert said == [[], [], ["start"], [], ["end"], ["start"], ["end"]]


def test_an_event_ends_where_the_stream_is_interrupted() -> None:
    answers = curve([0.1, 0.9, 0.9, 0.9, 0.9], connections=[0, 0, 0, 1, 1])
    events = events_of(answers, SegmentOptions(smoothing="none"))
    assert [event.kind for event in events] == ["start", "end", "start", "end"]
    assert events[1].segment.end == 2.0
    assert events[2].segment.start == 1.75  # half a step before the centre of the window that starts at 1.5
