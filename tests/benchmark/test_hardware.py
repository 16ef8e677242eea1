"""What the machine is doing, against psutil."""

import os

import psutil
import pytest

from kinema.benchmark.measure import hardware


@pytest.mark.skipif(not hardware._COUNTERS.exists(), reason="only Linux has these counters")
def test_busy_and_idle_time_are_those_of_psutil() -> None:
    before, times, after = hardware._ticks(), psutil.cpu_times(), hardware._ticks()
    busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    for k, seconds in enumerate((busy, times.idle + times.iowait)):
        ticks = seconds * os.sysconf("SC_CLK_TCK")
        assert before[k] - 1 <= ticks <= after[k] + 1
