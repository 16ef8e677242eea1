"""The same work on a real Ray cluster of this machine."""

import importlib
import os
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.work.jobs import run_jobs
from kinema.prepare.work.parallel import in_parallel
from tests.prepare.working import copy, make_units, square

HAS_RAY = pytest.mark.skipif(not __import__("importlib").util.find_spec("ray"), reason="Ray is not installed")


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """Two CPUs on this machine, for all tests of this module."""
    ray = pytest.importorskip("ray")
    root = str(Path(__file__).resolve().parents[2])
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=80 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}},
    )
    yield
    ray.shutdown()


@pytest.mark.usefixtures("ray_cluster")
def test_failures_crashes_and_retries_are_told_apart(tmp_path: Path) -> None:
    texts = ["one", "bad", "two", "deadly once", "three", "deadly"]
    units = make_units(tmp_path, texts)
    run = partial(run_jobs, copy, units, title="copying", report=tmp_path / "report.csv", cluster="auto")
    summary = run()
    assert summary.done == 4
    assert {Path(source).name: reason[:9] for source, reason in summary.failures.items()} == {
        "1.txt": "it is bad", "5.txt": "its proce"
    }  # fmt: skip
    written = {path.name: (path.read_text(), path.stat().st_mtime_ns) for path in (tmp_path / "out").iterdir()}
    assert {name: text for name, (text, _) in written.items()} == {f"{k}.txt": texts[k] for k in (0, 2, 3, 4)}

    for number in (1, 5):
        Path(units[number].source).write_text("mended")
    summary = run()
    assert (summary.done, summary.kept, summary.exit_code) == (2, 4, 0)
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == time for name, (_, time) in written.items())


@pytest.mark.usefixtures("ray_cluster")
def test_many_items_pass_through_few_tasks(tmp_path: Path) -> None:
    assert sorted(in_parallel(square, iter(range(50)), workers=2, cluster="auto")) == [n * n for n in range(50)]
    with pytest.raises(UserError, match=r"^the options are wrong$"):
        run_jobs(copy, make_units(tmp_path, ["wrong"]), title="x", report=tmp_path / "report.csv", cluster="auto")


@HAS_RAY
def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="not an address of a Ray cluster; allowed: local"):
        list(in_parallel(square, [1], workers=1, cluster="nowhere"))


@HAS_RAY
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_where_no_cluster_listens_the_message_comes_at_once(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The other tests' cluster is left connected; a caller's own connection would be used.
    monkeypatch.setattr(importlib.import_module("ray"), "is_initialized", lambda: False)
    with socket.socket() as bound:  # but not listening
        bound.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(UserError, match="no cluster is reachable"):
            list(in_parallel(square, [1], workers=1, cluster=address))


def test_without_ray_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'kinema\[ray\]'"):
        list(in_parallel(square, [1], workers=1, cluster="local"))
