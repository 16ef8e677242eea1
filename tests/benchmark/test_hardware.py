"""What the machine is doing, against psutil."""

import os

import psutil
import pytest

from kinema.benchmark.measure import hardware
from kinema.benchmark.measure.hardware import busy_cores


@pytest.mark.skipif(not hardware._COUNTERS.exists(), reason="only Linux has these counters")
def test_busy_and_idle_time_are_those_of_psutil() -> None:
    before, times, after = hardware._ticks(), psutil.cpu_times(), hardware._ticks()
    busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    for k, seconds in enumerate((busy, times.idle + times.iowait)):
        ticks = seconds * os.sysconf("SC_CLK_TCK")
        assert before[k] - 1 <= ticks <= after[k] + 1


def test_no_more_cores_are_busy_than_there_are() -> None:
    assert 0 <= busy_cores(0.05) <= (os.cpu_count() or 1)
