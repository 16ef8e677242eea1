import json

import pytest

from kinema.cli import main
from tests.benchmark.test_train import KEYS, RECIPE


def test_a_model_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["benchmark", "model", RECIPE, "--batch-size", "2", "--iters", "3", "--skip", "1", "--json", *KEYS]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["input"] == [2, 3, 8, 32, 32]
    assert 0 < found["latency"]["median"] <= found["latency"]["p95"]
    assert found["samples_per_s"] == pytest.approx(2 / found["infer"]["mean"])
    assert found["trained_per_s"] == pytest.approx(2 / found["train"]["mean"])
    assert found["train_memory_gib"] >= found["infer_memory_gib"] > 0
    assert main(["recipes", RECIPE, "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert found["flops"] < 2e9 * listed["gmacs"]  # which is of the whole recipe: 64 pixels, twice as wide
