"""BMN's sparse formulation against the dense one written plainly."""

import copy
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from kinema.models.bmn import BMN, BMNOptions, BMNOutput, Formulation
from kinema.models.boundary_sampling import SparseMatrix, sampling_matrix, segments_of
from tests.models import dense_bmn

SMALL = {"feature_channels": 8, "hidden_1d": 8, "hidden_2d": 4, "hidden_3d": 12}


def small(parts: int = 12, samples: int = 5, points: int = 2, formulation: Formulation = "sparse") -> BMN:
    torch.manual_seed(0)
    return BMNOptions(parts=parts, samples=samples, points=points, formulation=formulation, **SMALL).build()  # type: ignore[arg-type]


def existing(parts: int) -> Tensor:
    return torch.ones(parts, parts).triu().flip(1)


@given(
    parts=st.integers(1, 12),
    samples=st.integers(1, 6),
    points=st.integers(1, 3),
    ratio=st.sampled_from([0.0, 0.2, 0.5, 1.3]),
)
@example(parts=1, samples=1, points=2, ratio=1.3)
@settings(max_examples=30, deadline=None)
def test_sampling_equals_loops(parts: int, samples: int, points: int, ratio: float) -> None:
    if samples * points == 1:
        return  # a single point has no distance
    segment, column, weight = sampling_matrix(parts, samples, points, ratio)
    duration, start = segments_of(parts)
    found = torch.zeros(parts, samples, parts, parts, dtype=torch.float64)
    found[column // samples, column % samples, duration[segment], start[segment]] = torch.from_numpy(weight)
    torch.testing.assert_close(found, dense_bmn.sampling_by_loops(parts, samples, points, ratio), rtol=0, atol=1e-12)
    assert len(duration) == parts * (parts + 1) // 2


@pytest.mark.parametrize("formulation", ["sparse", "dense"])
@given(
    videos=st.integers(1, 3),
    parts=st.one_of(st.integers(1, 14), st.sampled_from([31, 50])),
    samples=st.integers(2, 5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=12, deadline=None)
def test_map_equals_the_plain_one(formulation: Formulation, videos: int, parts: int, samples: int, seed: int) -> None:
    """float64, so that what is compared is the formula: outputs and the gradients of every weight and feature."""
    model = small(parts, samples, formulation=formulation).double()
    torch.manual_seed(seed)
    features = torch.randn(videos, 8, parts, dtype=torch.float64, requires_grad=True)
    exists = existing(parts)
    matrix = dense_bmn.sampling_by_loops(parts, samples, 2, 0.5).float().double()
    expected = dense_bmn.confidence(model, features, matrix) * exists
    found = model(features).confidence
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)
    wanted = torch.randn_like(expected)
    leaves = [features, *(p for name, p in model.named_parameters() if not name.startswith(("start", "end")))]
    ours = torch.autograd.grad((found * wanted).sum(), leaves)
    theirs = torch.autograd.grad((expected * wanted).sum(), leaves)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm() + 1e-9


def test_float32_at_the_papers_size() -> None:
    torch.manual_seed(0)
    model = BMNOptions(hidden_1d=16, hidden_2d=16, hidden_3d=32, feature_channels=16).build()
    features = torch.randn(1, 16, 100)
    plain = copy.deepcopy(model).double()
    matrix = torch.zeros(100, 32, 100, 100, dtype=torch.float64)
    segment, column, weight = sampling_matrix(100, 32, 3, 0.5)
    duration, start = segments_of(100)
    matrix[column // 32, column % 32, duration[segment], start[segment]] = torch.from_numpy(weight)
    with torch.no_grad():
        expected = dense_bmn.confidence(plain, features.double(), matrix) * existing(100)
        found = model(features).confidence
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_what_a_segment_outside_the_video_holds_reaches_its_neighbours() -> None:
    """Cells that do not exist hold what the biases make of zeros, not zero: the map's edge shows it."""
    model = small().double()
    features = torch.randn(1, 8, 12, dtype=torch.float64)
    before = model(features).confidence.detach()
    matrix = dense_bmn.sampling_by_loops(12, 5, 2, 0.5)
    with torch.no_grad():
        model.samples.bias.add_(0.5)  # type: ignore[union-attr]
    found, expected = model(features).confidence, dense_bmn.confidence(model, features, matrix) * existing(12)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)
    assert (before - found.detach()).abs().max() > 1e-4


def test_the_output_is_as_documented() -> None:
    output = small()(torch.randn(3, 8, 12))
    assert isinstance(output, BMNOutput)
    shapes = {name: tuple(value.shape) for name, value in output._asdict().items()}
    assert shapes == {"confidence": (3, 2, 12, 12), "start": (3, 12), "end": (3, 12)}
    assert all(value.dtype == torch.float32 for value in output)
    assert not (output.confidence * (1 - existing(12))).any()
    assert output.confidence[:, :, existing(12) > 0].min() > 0


@pytest.mark.parametrize("formulation", ["sparse", "dense"])
def test_no_matrix_is_saved(formulation: Formulation) -> None:
    model = small(formulation=formulation)
    assert {*model.state_dict()} == {name for name, _ in model.named_parameters()}


def test_the_matrix_is_built_without_loops() -> None:
    """Plain loops over the segments of 16 parts take longer than the whole of 100 parts."""

    def seconds(work: Any) -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    whole = min(seconds(lambda: sampling_matrix(100, 32, 3, 0.5)) for _ in range(3))
    assert whole < 3 * seconds(lambda: dense_bmn.sampling_by_loops(16, 32, 3, 0.5))


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), videos=st.integers(1, 3), seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_sparse_products_equal_dense_ones(rows: int, columns: int, videos: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    dense = random.random((rows, columns)) * (random.random((rows, columns)) > 0.6)
    row, column = np.nonzero(dense)
    matrix = SparseMatrix(row, column, dense[row, column], shape=(rows, columns))
    features = torch.randn(videos, columns, 4, requires_grad=True)
    expected = torch.from_numpy(dense).float() @ features
    found = matrix(features.flatten(0, 1)).unflatten(0, (videos, rows))
    torch.testing.assert_close(found, expected)
    wanted = torch.randn_like(expected)
    theirs = torch.autograd.grad((expected * wanted).sum(), features, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad((found * wanted).sum(), features), theirs)


def test_bfloat16_is_close() -> None:
    model, features = small(), torch.randn(2, 8, 12)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(features)
    for one, other in zip(half, model(features), strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() < 0.02
    half.confidence.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert model.samples.weight.grad is not None


def test_a_compiled_model_is_one_graph() -> None:
    model, features = small(), torch.randn(2, 8, 12)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    for each in (model, compiled):
        sum(value.square().sum() for value in each(features)).backward()
    torch.testing.assert_close(compiled(features).confidence, model(features).confidence)
    theirs = {name.removeprefix("_orig_mod."): p.grad for name, p in compiled.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(theirs[name], parameter.grad)


def test_an_exported_model_equals_it() -> None:
    model = small().eval()
    batch = torch.export.Dim("videos", min=1, max=64)
    exported = torch.export.export(model, (torch.randn(2, 8, 12),), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    features = torch.randn(5, 8, 12)
    with torch.inference_mode():
        for one, other in zip(torch.export.load(file).module()(features), model(features), strict=True):
            torch.testing.assert_close(one, other)


def test_gradients_under_ddp(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        model, features = small(), torch.randn(2, 8, 12)
        parallel = DistributedDataParallel(copy.deepcopy(model))
        for each in (model, parallel):
            sum(value.square().sum() for value in each(features)).backward()
        theirs = {name.removeprefix("module."): p.grad for name, p in parallel.named_parameters()}
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(theirs[name], parameter.grad)
    finally:
        dist.destroy_process_group()
