"""`kinema doctor` on this machine, with a real Memcached server, and on what is broken."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinema.cli import main
from kinema.deploy.doctor import media
from kinema.deploy.doctor.checks import CHECKS, Wanted, run_checks
from kinema.deploy.doctor.machine import check_disk, disk_speed, favoured_precision
from kinema.deploy.doctor.result import Result
from kinema.deploy.doctor.services import check_memcached, check_ray
from tests.storage.servers import memcached_servers


def test_json_has_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--folder", str(tmp_path), "--json"])
    results = {one["check"]: one for one in json.loads(capsys.readouterr().out)}
    assert code == int(any(one["state"] == "fail" for one in results.values()))
    assert {"Python", "torch", "CPU", "FFmpeg", "PyAV", "torchcodec", "simplejpeg", "disk", "cache"} <= results.keys()
    for one in results.values():
        assert one["state"] == "ok" or one["advice"], one
    assert results["PyAV"]["state"] == results["simplejpeg"]["state"] == "ok"
    assert [*tmp_path.iterdir()] == []


def test_a_check_that_raises_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Result]:
        raise OSError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr("kinema.deploy.doctor.machine.check_torch", broken)
    results = [*run_checks(Wanted())]
    (torch,) = [one for one in results if one.check == "torch"]
    assert torch.state == "fail"
    assert "cannot open shared object file" in torch.found
    assert results[-1].check == [*CHECKS][-1]


def test_memcached_that_answers_and_one_that_does_not() -> None:
    with memcached_servers(1) as (process,):
        server = process.address
        (answering,) = check_memcached((server,))
        assert (answering.state, server in answering.found) == ("ok", True)
    (silent,) = check_memcached((server,))
    assert silent.state == "fail"
    assert "memcached" in silent.advice


def test_a_cluster_that_does_not_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{unused.getsockname()[1]}"
        (silent,) = check_ray(address)  # bound, but not listening
        assert silent.state == "fail"
        unused.listen()
        (answering,) = check_ray(address)
        assert answering.state == "ok"


def test_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = check_disk(tmp_path / "none")
    assert result.state == "fail"
    assert main(["doctor", "--folder", str(tmp_path / "none")]) == 1
    assert "→ pass a folder with --folder" in capsys.readouterr().out


def test_the_speed_of_a_disk_is_positive(tmp_path: Path) -> None:
    assert min(disk_speed(tmp_path)) > 0


def test_wrong_pixels_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = media.drawn_frames()
    monkeypatch.setattr(media, "drawn_frames", lambda: frames)
    monkeypatch.setattr(media, "encode", lambda _, path, encode=media.encode: encode(np.roll(frames, 20, axis=2), path))
    results = {one.check: one for one in media.check_decoders()}
    assert results["PyAV"].state == "fail"
    assert results["simplejpeg"].state == "ok"


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx2"}, "fp32"),
        ({"avx2", "avx512f"}, "fp32"),
        ({"avx2", "avx512f", "avx512_bf16"}, "auto"),
        ({"avx2", "avx512f", "avx512_bf16", "amx_bf16"}, "bf16"),
    ],
)
def test_the_favoured_precision(flags: set[str], precision: str) -> None:
    assert precision in favoured_precision(frozenset(flags))
