"""What the machine is doing, against psutil."""

import os
import subprocess
import sys

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


@pytest.mark.skipif(sys.platform != "linux", reason="others have getrusage's maximum only")
@pytest.mark.parametrize(
    "child",
    [
        "from kinema.runtime.memory import peak_resident_gib\nprint(peak_resident_gib())",
        "from kinema.benchmark.peers.protocol import resident_bytes\nprint(resident_bytes() / 2**30)",
    ],
)
def test_the_peak_is_that_of_the_process_and_not_of_its_parent(child: str) -> None:
    large = f"x = b'x' * 2**31\nimport subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", large], check=True, capture_output=True, text=True)
    assert 0 < float(done.stdout) < 1.5
