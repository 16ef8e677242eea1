"""Stream time: monotonic, as the PTS say, and as the frames arrive where these say nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.streams.live.clock import StreamClock

STAMPS = st.one_of(st.none(), st.floats(-1e5, 1e5, allow_nan=False))


@given(
    st.lists(st.tuples(STAMPS, st.floats(0, 100), st.booleans()), min_size=1, max_size=30), st.booleans(), st.booleans()
)
def test_time_never_runs_backwards(frames: list[tuple[float | None, float, bool]], live: bool, arrives: bool) -> None:
    clock, arrival, last = StreamClock(live=live, by_arrival=arrives), 0.0, -1.0
    for pts, waited, is_new in frames:
        arrival += waited
        if is_new:
            clock.reconnected(by_arrival=arrives)
        now = clock.advance(pts, arrival)
        assert now > last
        last = now


@given(st.lists(st.floats(0.001, 0.9), max_size=20), st.floats(-1e3, 1e5), st.booleans())
def test_time_is_that_of_increasing_pts(steps: list[float], origin: float, live: bool) -> None:
    clock, pts = StreamClock(live=live), origin
    assert clock.advance(pts, 7.0) == 0
    for number, step in enumerate(steps):
        pts += step
        assert clock.advance(pts, 7.0 + number / 1000) == pytest.approx(pts - origin, abs=1e-6)
    assert clock.jumps == 0


@pytest.mark.parametrize("jump", [-95443.0, -0.5, 0.0, 60.0, 95443.0])
def test_a_jump_lasts_as_long_as_the_frames_were_waited_for(jump: float) -> None:
    clock = StreamClock(live=True)
    times = [clock.advance(100 + i / 10, i / 10) for i in range(10)]
    times += [clock.advance(100.9 + jump + i / 10, 2.9 + i / 10) for i in range(10)]
    assert times == pytest.approx([*(i / 10 for i in range(10)), *(2.9 + i / 10 for i in range(10))])
    assert clock.jumps == 1


def test_a_jump_in_a_pipe_lasts_as_long_as_a_frame() -> None:
    clock = StreamClock(live=False)
    times = [clock.advance(pts, 0.0) for pts in (5, 5.1, 5.2, 0, 0.1, 0.2, 30.2)]
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 30.5])


@pytest.mark.parametrize("live", [True, False])
def test_a_repeated_stamp_takes_no_time(live: bool) -> None:
    clock, stamps = StreamClock(live=live), [0, 0.1, 0.1, 0.2, 0.2, 0.2, 0.3]
    times = [clock.advance(pts, pts + number / 100) for number, pts in enumerate(stamps)]
    assert times == pytest.approx(stamps, abs=1e-5)
    assert clock.jumps == 0


@pytest.mark.parametrize("live", [True, False])
def test_stamps_that_stand_still_do_not_stop_the_time(live: bool) -> None:
    clock = StreamClock(live=live)
    times = [clock.advance(5.0, number / 25) for number in range(100)]
    assert times[-1] > 0.2 * 99 / 25


def test_a_long_pause_is_no_jump() -> None:
    clock = StreamClock(live=True)
    assert [clock.advance(pts, arrival) for pts, arrival in ((1, 0), (61, 60.2))] == [0, 60]
    assert clock.jumps == 0


def test_a_new_connection_continues_after_the_gap() -> None:
    clock = StreamClock(live=True)
    assert [clock.advance(8.0, 1.0), clock.advance(8.5, 1.5)] == [0, 0.5]
    clock.reconnected(by_arrival=False)
    assert [clock.advance(0.0, 31.5), clock.advance(0.5, 32.1)] == [30.5, 31.0]
    assert clock.jumps == 0


def test_stamps_of_formats_without_any_are_not_used() -> None:
    clock = StreamClock(live=True, by_arrival=True)
    assert [clock.advance(i / 25, i / 5) for i in range(4)] == pytest.approx([0, 0.2, 0.4, 0.6])
    # A pipe has no pace of its own: there the assumed rate is better than none.
    clock = StreamClock(live=False, by_arrival=True)
    assert [clock.advance(i / 25, i / 500) for i in range(4)] == pytest.approx([0, 0.04, 0.08, 0.12])
