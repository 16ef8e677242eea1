"""Videos that take for ever: given up, in this process and in a loader's worker, without a trace left behind."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from kinema.data.crops import ViewCrops
from kinema.data.dataset import ViewDataset
from kinema.data.lists.index import index_paths
from kinema.data.loader import EvalBatches, load
from kinema.data.options import DataOptions
from kinema.data.readers import sources
from kinema.data.readers.timeout import within
from kinema.data.samples import SampleKey
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.errors import MediaError
from tests.data.drawn_videos import NEEDS_TORCHCODEC, READERS, write_video

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no SIGALRM on this system")


@pytest.fixture(autouse=True)
def own_alarm() -> Iterator[None]:
    """pytest-timeout uses the same timer; whatever a test leaves behind is seen here."""

    def before(_number: int, _frame: object) -> None:
        raise AssertionError("an alarm after its time limit")

    outer, timer = signal.signal(signal.SIGALRM, before), signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    signal.signal(signal.SIGALRM, outer)
    signal.setitimer(signal.ITIMER_REAL, *timer)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("reader", READERS)
def test_a_stalled_video_is_a_bad_file(reader: str, workers: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stalled.mp4")  # whoever opens it waits for a writer
    write_video(tmp_path / "sound.mp4")
    paths = [str(tmp_path / name) for name in ("stalled.mp4", "sound.mp4")]
    views = Views(sampling=Sampling(clip_len=2), crops=ViewCrops(short_side=16, size=16))
    # The sound video must not take longer; a machine that does nothing else for seconds would fail here.
    options = DataOptions(reader=reader, decode_timeout=3)  # type: ignore[arg-type]
    dataset = ViewDataset(index_paths(paths, source="", root=""), views, options)
    stalled, sound = list(load(dataset, EvalBatches(2, 1), workers=workers))
    assert [(file.path, file.reason) for file in stalled.bad] == [
        (paths[0], "reading it took longer than 3 s (--data.decode-timeout)")
    ]
    assert len(stalled) == 0
    assert (len(sound), sound.bad) == (1, ())


@NEEDS_TORCHCODEC
def test_importing_the_decoder_is_no_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each spawned worker imports it."""

    def slowly(name: str) -> ModuleType:
        time.sleep(1.2)
        return import_module(name)

    monkeypatch.setattr(sources, "import_module", slowly)
    sources._torchcodec_fault.cache_clear()
    write_video(tmp_path / "sound.mp4")
    views = Views(sampling=Sampling(clip_len=2), crops=ViewCrops(short_side=16, size=16))
    options = DataOptions(reader="torchcodec", decode_timeout=1)
    result = ViewDataset(index_paths([str(tmp_path / "sound.mp4")], source="", root=""), views, options)[
        SampleKey(0, 0)
    ]
    assert result.bad == ()


def compute() -> None:
    while True:
        pass


def test_a_computation_in_python_is_given_up() -> None:
    with pytest.raises(MediaError, match=r"video: reading it took longer than 0.05 s"):
        within(0.05, "video", compute)


def test_an_alarm_that_is_swallowed_rings_again() -> None:
    def read() -> None:
        with contextlib.suppress(MediaError):
            time.sleep(10)
        time.sleep(10)
        raise AssertionError("it did not ring again")

    with pytest.raises(MediaError, match="took longer"):
        within(0.05, "video", read)


def test_what_a_library_makes_of_the_alarm_is_the_time_limit() -> None:
    def read() -> None:
        try:
            time.sleep(10)
        except MediaError as error:
            raise OSError("Interrupted system call") from error

    with pytest.raises(MediaError, match="took longer"):
        within(0.05, "video", read)


@pytest.mark.parametrize("seconds", [0, 100])
def test_within_the_limit_nothing_happens(seconds: float) -> None:
    assert within(seconds, "video", lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        within(seconds, "video", lambda: 1 // 0)


def test_a_limit_that_ends_with_the_work_leaves_nothing_behind() -> None:
    """The alarm rings at every place of the way out."""
    for number in range(300):
        with contextlib.suppress(MediaError):
            within(1e-6 * number, "video", lambda: None)
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_timer_of_someone_else_goes_on() -> None:
    rang = list[float]()
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: rang.append(time.monotonic()))
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    within(100, "video", lambda: time.sleep(0.1))
    while not rang:
        time.sleep(0.05)
    assert rang[0] - started >= 0.29
    signal.signal(signal.SIGALRM, before)


def test_in_a_thread_there_is_no_limit() -> None:
    ended = list[bool]()
    thread = threading.Thread(target=lambda: ended.append(within(0.05, "video", lambda: time.sleep(0.2)) is None))
    thread.start()
    thread.join()
    assert ended == [True]
