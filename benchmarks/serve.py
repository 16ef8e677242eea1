"""Latency and throughput of a server beside the plain `predict`: python -m benchmarks.serve MODEL CLIP …

A server of its own process answers requests, 1 and 8 in flight; before and after, one process predicts the same clips
one by one. Latencies are of wall-clock time on this machine, with what else runs on it; CPU time is that of all threads
of the server, or of `predict`, per clip.
"""

import argparse
import re
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

import kinema


def request(url: str, clip: Path) -> float:
    """Return the seconds of one request."""
    headers = {"Content-Type": "application/octet-stream"}
    began = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/api/predict", clip.read_bytes(), headers)) as answer:
        answer.read()
    return time.perf_counter() - began


def plain(model: str, clips: list[Path], count: int) -> None:
    """Print the times of the plain `predict`."""
    predictor = kinema.load(model)
    predictor.predict(clips[0])
    times, before = [], time.process_time()
    for number in range(count):
        began = time.perf_counter()
        predictor.predict(clips[number % len(clips)])
        times.append(time.perf_counter() - began)
    say("predict, one by one", times, sum(times), time.process_time() - before)


def cpu_seconds(process: int) -> float:
    """Return the CPU time of all threads of a process."""
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def say(what: str, times: list[float], elapsed: float, cpu: float) -> None:
    p50, p99 = 1e3 * np.quantile(times, (0.5, 0.99))
    rate, each = len(times) / elapsed, 1e3 * cpu / len(times)
    print(f"{what:24} p50 {p50:7.1f} ms  p99 {p99:7.1f} ms  {rate:6.1f} clips/s  CPU {each:6.2f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    plain(options.model, options.clips, options.requests)
    command = [sys.executable, "-m", "kinema", "serve", options.model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            url = next(found[1] for line in server.stderr if (found := re.search(r"serving .* at (http://\S+)", line)))
            request(url, options.clips[0])
            for flying in (1, 8):
                with ThreadPoolExecutor(flying) as pool:
                    clips = [options.clips[number % len(options.clips)] for number in range(options.requests)]
                    began, before = time.perf_counter(), cpu_seconds(server.pid)
                    times = list(pool.map(lambda clip: request(url, clip), clips))
                    elapsed, cpu = time.perf_counter() - began, cpu_seconds(server.pid) - before
                    say(f"served, {flying} in flight", times, elapsed, cpu)
        finally:  # also of a request that failed: leaving the block waits for the server
            server.terminate()
    plain(options.model, options.clips, options.requests)


if __name__ == "__main__":
    main()
