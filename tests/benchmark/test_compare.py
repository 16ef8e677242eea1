"""Contenders in turn: ratios, the page, and real processes beside each other."""

import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from kinema.benchmark.compare.process import ContenderProcess
from kinema.benchmark.compare.results import BEST, OWN, Comparison, Result
from kinema.benchmark.compare.rows import PEERS, ROWS, Row
from kinema.benchmark.compare.run import compare
from kinema.benchmark.options import CompareOptions
from kinema.benchmark.pages.page import page
from kinema.benchmark.peers import protocol
from kinema.benchmark.suite import INPUTS, Measurements, read_measurements
from kinema.cli import main
from kinema.recipes import config_of
from tests.docs.commands import ROOT


def result(*turns: list[float], memory: float = 2.0) -> Result:
    cpu = [[1.8 * each for each in turn] for turn in turns]
    return Result(
        train=list(turns), cpu=cpu, infer=[[0.1]], memory_gib=memory, parameters=24_300_000, notes=["a stand-in"]
    )


COMPARISON = Comparison(
    row="tsn",
    title="TSN",
    recipe=ROWS["tsn"].recipe,
    batch_size=2,
    machine="a machine",
    results={
        # The machine slows down in the second turn, for all.
        OWN: result([1.0, 1.0], [2.0, 2.0], [1.0, 1.0], memory=1.5),
        BEST: result([0.5, 0.5], [1.0, 1.0], [0.5, 0.5], memory=1.0),
        "MMAction2": result([1.5, 1.5], [3.0, 3.0], [1.4, 1.4]),
        "torchvision": result([1.2, 1.2], [2.4, 2.4], [1.2, 1.2]),
        "MMAction": Result(fault="ImportError: cannot import name 'constant_init'"),
    },
)


def test_ratios_are_taken_turn_by_turn() -> None:
    assert COMPARISON.ratio("MMAction2") == pytest.approx(1.5)
    assert COMPARISON.ratio(BEST) == pytest.approx(0.5)
    assert COMPARISON.ratio("MMAction") is None
    assert COMPARISON.cpu_ratio("MMAction") is None
    assert COMPARISON.cpu_ratio("torchvision") == pytest.approx(1.2)
    assert COMPARISON.results["MMAction2"].s_per_iter == pytest.approx(1.5)


def test_page_tells_figures_reasons_and_what_is_missing() -> None:
    names = [one.name for one in INPUTS]
    written = page(Measurements(trained={}, compared={"tsn": COMPARISON}, missing=tuple(names)), command="kinema …")
    assert "| TSN | 2 | 1 | 1.50 | 0.5 (0.50) | 1.00 | 1.5 (1.50) | 2.00 | x | x | x | x |" in written
    assert "- MMAction, x: ImportError: cannot import name 'constant_init' (TSN)." in written
    assert "- MMAction2: a stand-in (TSN)." in written
    # torchvision is the fastest peer: 1.2 times Kinema's time, 2.4 times that of the best precision.
    assert "| TSN | torchvision | 1.20 | 2.40 | 0.75 | 0.50 |" in written
    assert "| TSN | 256p rawframes | Memcached | – |" in written
    assert all(name in written for name in names)
    assert "CPU time" not in written
    busy = replace(COMPARISON, load=7.0)
    written = page(Measurements(trained={}, compared={"tsn": busy}, missing=()), command="kinema …")
    assert "| TSN | 7.0 | 1.00 | 0.50 | 1.50 | x | 1.20 |" in written


def test_the_page_has_no_section_that_writing_it_again_removes() -> None:
    kept = (ROOT / "docs/benchmark.md").read_text(encoding="utf-8")
    written = page(Measurements(trained={}, compared={"tsn": replace(COMPARISON, load=7.0)}, missing=()), command="")
    assert headings(kept) <= headings(written)


def headings(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("#")}


def test_pieces_that_are_there_are_known(tmp_path: Path) -> None:
    (tmp_path / "compare_tsn.json").write_text(json.dumps(COMPARISON.as_json()))
    found = read_measurements(tmp_path)
    assert found.compared == {"tsn": COMPARISON}
    assert len(found.missing) == len(INPUTS) + len(ROWS) - 1


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_rows_are_the_models_that_recipes_train(row: Row) -> None:
    config = config_of(row.recipe, row.keys)
    pixels = len(row.shape) == 4
    with torch.device("meta" if pixels else "cpu"), torch.no_grad():
        model = config.model.build().eval()  # type: ignore[union-attr]
        model(torch.empty(row.shape if row.title.endswith("PEM") else (1, *row.shape)))
    if pixels:
        assert config.data.train_clip.sampling.frames == row.shape[1]  # type: ignore[union-attr]
        assert config.data.train_clip.crop.size == row.shape[2]  # type: ignore[union-attr]
    assert str(config.data.batch_size) == row.spec_batch.partition("x")[0]  # type: ignore[union-attr]
    assert set(row.peers) <= set(PEERS)


def test_blocks_of_short_steps_are_measured_in_time(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(protocol.__file__).parent)!r})\n"
        "from protocol import Contender, Request, answer\n"
        "step = lambda: time.sleep(0.01)\n"
        "answer(lambda _: Contender(train=step, infer=step, parameters=1), Request('', (), 1))\n"
    )
    with closing(ContenderProcess([sys.executable, str(program)], own=True)) as process:
        process.wait_until_ready()
        process.run_round(3, 0.1)
        process.run_round(20, 0)
        found = process.result()
    assert 3 <= len(found.train[0]) <= 10  # sleeps last 10 ms at least
    assert 1 <= len(found.infer[0]) <= 3
    assert len(found.train[1]) == 20
    assert len(found.infer[1]) == 1


@pytest.mark.slow
def test_real_processes_take_turns(tmp_path: Path) -> None:
    python = tmp_path / "torch/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    row = Row(
        title="small",
        recipe="tsm_r18_video_1x1x8_sample_rgb",
        shape=(3, 3, 64, 64),
        peers=("torchvision", "MMAction2", "BSN"),
    )
    options = CompareOptions(environments=tmp_path, rounds=2, block=1, block_seconds=0, batch_size=2, best="none")
    found = compare("tsn", row, options, {}).results
    assert list(found) == [OWN, "torchvision", "MMAction2", "BSN"]
    assert "No module named 'mmcv'" in found["MMAction2"].fault
    assert "compare --set-up" in found["BSN"].fault
    peer = torchvision.models.resnet50(num_classes=400)
    assert found["torchvision"].parameters == sum(each.numel() for each in peer.parameters())
    for name in (OWN, "torchvision"):
        assert [len(turn) for turn in found[name].train] == [1, 1]
        assert min(turn[0] for turn in found[name].cpu) > 0
        assert min(found[name].s_per_iter, found[name].infer_s, found[name].memory_gib) > 0


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["compare", "tns"], "no model of the benchmark is called 'tns'; did you mean 'tsn'?"),
        (["compare", "tsn", "--environments", str(tmp_path / "none")], "pass --set-up"),
        (["compare", "tsn", "--optim.lrr", "1"], "optim.lrr: no such option"),
        (["model", "tns"], "no recipe is called 'tns'"),
        (["suite", "spec", "--only", "compare_tns"], "unknown measurement 'compare_tns'; did you mean 'compare_tsn'?"),
        (["trian"], "did you mean 'train'?"),
    ):
        assert main(["benchmark", *arguments]) == 2
        assert said in capsys.readouterr().err
