"""Downloads over real HTTP on loopback: broken off, resumed, refused, damaged, from mirrors, by two processes."""

import hashlib
import multiprocessing
import os
import random
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinema.errors import StorageOutage, UserError
from kinema.weights.published import download as module
from kinema.weights.published.download import download
from tests.weights.published.server import Server, serving

BODY = random.Random(0).randbytes(3_000_000)
SHA = hashlib.sha256(BODY).hexdigest()
PATH = "/zoo/weights.pth"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        running.files[PATH] = BODY
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KINEMA_ZOO_MIRROR", raising=False)
    monkeypatch.setattr(module, "_WAIT", 0.01)
    return tmp_path / "cache"


def leftovers(cache: Path) -> list[str]:
    """Files of the cache but for locks."""
    return sorted(file.name for file in cache.rglob("*") if file.is_file() and not file.name.endswith(".lock"))


def test_a_file_is_downloaded_once(server: Server, cache: Path) -> None:
    first = download(server.url + PATH, sha256=SHA[:8])
    assert first.path.read_bytes() == BODY
    assert first.sha256 == SHA
    assert first.path == cache / "downloads" / server.url.removeprefix("http://").replace(":", "_") / PATH[1:]
    assert download(server.url + PATH, sha256=SHA[:8]) == first
    assert len(server.requests) == 1
    assert leftovers(cache) == ["weights.pth"]


@pytest.mark.parametrize("published", [SHA[:8], ""])
def test_a_broken_off_download_goes_on_where_it_ended(server: Server, published: str) -> None:
    server.cuts[PATH] = [1_000_000, 1_500_000]
    assert download(server.url + PATH, sha256=published).path.read_bytes() == BODY
    assert [asked for _, asked in server.requests] == ["", "bytes=1000000-", "bytes=2500000-"]


def test_the_next_command_goes_on_too(server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    server.cuts[PATH] = [1_000_000, 0]
    with pytest.raises(StorageOutage, match=r"the connection was closed .*; the first 1.0 MB are kept"):
        download(server.url + PATH, sha256=SHA[:8])
    assert download(server.url + PATH, sha256=SHA[:8]).path.read_bytes() == BODY
    assert [asked for _, asked in server.requests] == ["", "bytes=1000000-", "bytes=1000000-"]
    assert leftovers(cache) == ["weights.pth"]


@pytest.mark.parametrize(("ranges", "tags", "published"), [(False, True, SHA[:8]), (True, False, "")])
def test_without_ranges_or_a_way_to_tell_versions_it_begins_again(
    server: Server, ranges: bool, tags: bool, published: str
) -> None:
    server.ranges, server.tags, server.cuts[PATH] = ranges, tags, [1_000_000]
    assert download(server.url + PATH, sha256=published).path.read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_taken_as_a_whole(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    server.cuts[PATH] = [1_000_000, 0]
    with pytest.raises(StorageOutage):
        download(server.url + PATH)
    server.files[PATH] = BODY[::-1]
    assert download(server.url + PATH).path.read_bytes() == BODY[::-1]
    server.files[PATH + "2"] = BODY
    server.cuts[PATH + "2"] = [2_000_000, 0]
    with pytest.raises(StorageOutage):
        download(server.url + PATH + "2")
    server.files[PATH + "2"] = BODY[:1000]  # shorter than what was received
    assert download(server.url + PATH + "2").path.read_bytes() == BODY[:1000]


def test_another_hash_is_refused_and_nothing_kept(server: Server, cache: Path) -> None:
    with pytest.raises(UserError, match=f"has the SHA-256 {SHA}, but 00000000… is published"):
        download(server.url + PATH, sha256="00000000")
    assert leftovers(cache) == []


def test_where_no_hash_is_published_the_first_is_recorded_and_said(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        path = download(server.url + PATH).path
    assert f"that of this file, {SHA}, is recorded" in caplog.text
    record = path.with_name("weights.pth.sha256")
    assert subprocess.run(["sha256sum", "--check", record.name], cwd=path.parent, check=False).returncode == 0
    path.write_bytes(BODY[:-1] + b"?")
    with pytest.raises(UserError, match=f"but {SHA} is recorded in .*delete .* to download it again"):
        download(server.url + PATH)
    assert path.exists()  # the user may have put it there
    path.unlink()
    server.files[PATH] = BODY[:-1]
    with pytest.raises(UserError, match="is recorded in"):
        download(server.url + PATH)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_one_message_says_what_is_missing_and_where_to_put_it(server: Server, cache: Path, status: int) -> None:
    server.statuses[PATH] = [status]
    with pytest.raises(UserError, match=f"the server answers {status}") as raised:
        download(server.url + PATH, wanted_by="zoo:name")
    target = cache / "downloads" / server.url.removeprefix("http://").replace(":", "_") / PATH[1:]
    assert str(raised.value).startswith("zoo:name needs weights.pth, which is not in the cache")
    assert f"save\n  {server.url}{PATH}\nas\n  {target}\n" in str(raised.value)
    target.write_bytes(BODY)
    assert download(server.url + PATH).path == target


def test_offline_the_message_is_the_same() -> None:
    with serving() as server:
        url = server.url + PATH
    with pytest.raises(UserError, match=r"cannot be downloaded: Connection refused\. Where there is access"):
        download(url)


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.statuses[PATH] = [503, 429]
    assert download(server.url + PATH).path.read_bytes() == BODY
    server.statuses[PATH + "x"] = [503] * 10
    with pytest.raises(StorageOutage, match="the server answers 503"):
        download(server.url + PATH + "x")


def test_redirects_are_followed_also_for_the_rest(server: Server) -> None:
    server.redirects["/latest"] = PATH
    server.cuts[PATH] = [1_000_000]
    assert download(server.url + "/latest", sha256=SHA).path.read_bytes() == BODY
    assert ("/latest", "bytes=1000000-") in server.requests


def test_a_web_page_is_no_file(server: Server, cache: Path) -> None:
    server.html.add(PATH)
    with pytest.raises(UserError, match="a web page instead of the file"):
        download(server.url + PATH)
    assert leftovers(cache) == []


@pytest.mark.parametrize("url", ["ftp://host/file", "https://host", "https:///file", "https://host/../file"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UserError, match="expected http://HOST/FILE"):
        download(url)


def test_a_query_is_part_of_the_name(server: Server) -> None:
    server.files.update({"/get?a=1": b"one", "/get?a=2": b"two"})
    assert [download(f"{server.url}/get?a={n}").path.read_bytes() for n in (1, 2)] == [b"one", b"two"]


@pytest.mark.parametrize("by_url", [True, False])
def test_a_mirror_replaces_the_servers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_url: bool
) -> None:
    folder = tmp_path / "mirror" / "example.org" / "zoo"
    folder.mkdir(parents=True)
    (folder / "weights.pth").write_bytes(BODY)
    server.files["/mirror/example.org/zoo/weights.pth"] = BODY
    monkeypatch.setenv("KINEMA_ZOO_MIRROR", f"{server.url}/mirror/" if by_url else str(tmp_path / "mirror"))
    assert download("https://example.org/zoo/weights.pth", sha256=SHA[:8]).path.read_bytes() == BODY
    with pytest.raises(UserError, match="the mirror"):
        download("https://example.org/zoo/others.pth")


def test_a_full_disk_is_said_and_the_download_goes_on_later(server: Server) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
        with pytest.raises(UserError, match=r"cannot be written: File too large\. Free space .* KINEMA_CACHE=FOLDER"):
            download(server.url + PATH, sha256=SHA[:8])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert download(server.url + PATH, sha256=SHA[:8]).path.read_bytes() == BODY
    assert server.requests[-1][1].startswith("bytes=")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_too_small_is_told_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("cannot mount a tmpfs")
    monkeypatch.setenv("KINEMA_CACHE", str(disk))
    try:
        with pytest.raises(UserError, match="2 MB of disk space are missing for its 3 MB"):
            download(server.url + PATH)
    finally:
        subprocess.run(["umount", disk], check=True)


def _download(url: str) -> None:
    assert download(url, sha256=SHA[:8]).path.read_bytes() == BODY


def test_two_processes_at_once_download_it_once(server: Server) -> None:
    server.delay = 0.3
    processes = [multiprocessing.get_context("fork").Process(target=_download, args=(server.url + PATH,)) for _ in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == 1
