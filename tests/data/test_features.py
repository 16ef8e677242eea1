"""Features of videos: the same from every kind of file and place; what is wrong with a file is said."""

import pickle
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch.nn.functional import interpolate

from kinema.data.features.rescaling import rescale
from kinema.data.features.source import FeatureSource
from kinema.errors import MediaError, UserError
from kinema.storage import Direct, Storage, StorageOptions, open_storage
from tests.storage.servers import memcached_servers, web_server

Features = dict[str, NDArray[np.float32]]
WIDTH = 6


def drawn() -> Features:
    rng = np.random.default_rng(0)
    return {f"v_{name}": rng.standard_normal((length, WIDTH)).astype(np.float32) for name, length in LENGTHS.items()}


LENGTHS = {"a": 9, "b c%": 1, "ü": 30}


def write_csv(features: Features, place: Path, header: str = ",".join(f"f{n}" for n in range(WIDTH))) -> Path:
    place.mkdir()
    for name, array in features.items():
        np.savetxt(place / f"{name}.csv", array, delimiter=",", fmt="%.9g", header=header, comments="")
    return place


def write_csv_without_header(features: Features, place: Path) -> Path:
    write_csv(features, place)
    for file in place.iterdir():
        file.write_bytes(b"\r\n".join(file.read_bytes().splitlines()[1:]))
    return place


def write_npy(features: Features, place: Path) -> Path:
    place.mkdir()
    for name, array in features.items():
        np.save(place / f"{name}.npy", np.asfortranarray(array))
    return place


def write_npz(features: Features, place: Path) -> Path:
    place.mkdir()
    for name, array in features.items():
        np.savez(place / f"{name}.npz", anything=array)
    return place


def pack_safetensors(features: Features, place: Path) -> Path:
    save_file(features, place.with_suffix(".safetensors"), metadata={"made": "for a test"})
    return place.with_suffix(".safetensors")


def pack_npz(features: Features, place: Path) -> Path:
    np.savez(place.with_suffix(".npz"), **features)
    return place.with_suffix(".npz")


def pack_npz_compressed(features: Features, place: Path) -> Path:
    np.savez_compressed(place.with_suffix(".npz"), **features)
    return place.with_suffix(".npz")


Write = Callable[[Features, Path], Path]
WRITERS: list[Write] = [
    write_csv, write_csv_without_header, write_npy, write_npz, pack_safetensors, pack_npz, pack_npz_compressed,
]  # fmt: skip
every_kind = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)


def source(place: Path | str, parts: int | None = None, **options: object) -> FeatureSource:
    return FeatureSource(str(place), **{"storage": Direct(), "parts": parts, "channels": WIDTH} | options)  # type: ignore[arg-type]


@every_kind
def test_every_kind_of_file_gives_the_same(write: Write, tmp_path: Path) -> None:
    features = drawn()
    found = source(write(features, tmp_path / "features"))
    assert set(found.videos) == set(features)
    for one in (found, pickle.loads(pickle.dumps(found))):
        for name, array in features.items():
            for asked in (name, name.removeprefix("v_")):
                read = one.read(asked)
                assert read.dtype == torch.float32
                assert read.is_contiguous()
                assert torch.equal(read, torch.from_numpy(array.T))
    with pytest.raises(MediaError, match="no features of this video"):
        found.read("d")


@every_kind
def test_a_part_of_a_video_is_read(write: Write, tmp_path: Path) -> None:
    features = drawn()
    found = source(write(features, tmp_path / "features"))
    for name, array in features.items():
        length = len(array)
        assert found.length(name) == length
        for first, last in (
            (0, 1),
            (length // 2, length),
            (length // 3, length - length // 4),
            (length - 1, length + 3),
        ):
            expected = np.pad(array, ((0, max(last - length, 0)), (0, 0)))[first:last].T
            assert np.array_equal(found.read(name, (first / length, last / length)).numpy(), expected)
    with pytest.raises(MediaError, match="no features of this video"):
        found.length("d")


def test_files_without_prefix_are_found_for_names_with_it(tmp_path: Path) -> None:
    features = {name.removeprefix("v_"): array for name, array in drawn().items()}
    found = source(write_npy(features, tmp_path / "features"))
    assert torch.equal(found.read("v_a"), found.read("a"))


@every_kind
def test_from_memory_and_the_web_through_caches(write: Write, tmp_path: Path) -> None:
    features = drawn()
    place = write(features, tmp_path / "features")
    memory = fsspec.filesystem("memory")
    memory.put(str(place), f"/{place.name}", recursive=True)

    def check(url: str, storage: Storage) -> None:
        found = source(url, storage=storage)
        for name, array in features.items():
            assert torch.equal(found.read(name), torch.from_numpy(array.T))

    with memcached_servers(1) as servers, web_server(tmp_path, ranges=True) as web, web_server(tmp_path) as plain:
        for storage in (
            StorageOptions(),
            StorageOptions(cache=str(tmp_path / "cache")),
            StorageOptions(memcached=(servers[0].address,)),
        ):
            for url in (f"memory://{place.name}", f"{web.url}/{place.name}", f"{plain.url}/{place.name}"):
                for _ in range(2):
                    check(url, open_storage(storage))
    memory.rm(f"/{place.name}", recursive=True)


@pytest.mark.parametrize(("pack", "reads", "ahead"), [(pack_safetensors, 1, 0), (pack_npz, 2, 1 << 15)])
def test_one_video_of_a_packed_file_is_read(pack: Write, reads: int, ahead: int, tmp_path: Path) -> None:
    read: list[int] = []

    class Counted(Direct):
        def read_range(self, path: str, start: int, end: int) -> bytes:
            read.append(end - start)
            return super().read_range(path, start, end)

        def read(self, path: str) -> bytes:
            raise AssertionError("the whole file is not asked for")

    features = {f"v{number}": np.full((100, WIDTH), number, np.float32) for number in range(1000)}
    found = source(pack(features, tmp_path / "packed"), storage=Counted())
    read.clear()
    assert (found.read("v700") == 700).all()
    assert len(read) <= reads
    assert sum(read) < 100 * WIDTH * 4 + 500 + ahead


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_other_numbers(dtype: str, tmp_path: Path) -> None:
    features = {"a": np.arange(12).reshape(2, WIDTH).astype(dtype)}
    expected = torch.arange(12.0).reshape(2, WIDTH).T
    assert torch.equal(source(write_npy(features, tmp_path / "npy")).read("a"), expected)
    if dtype != "int32":
        assert torch.equal(source(pack_safetensors(features, tmp_path / "p")).read("a"), expected)


def test_bfloat16(tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_tensors

    tensor = torch.randn(5, WIDTH).bfloat16()
    save_tensors({"a": tensor}, tmp_path / "p.safetensors")
    assert torch.equal(source(tmp_path / "p.safetensors").read("a"), tensor.float().T)


def test_rgb_and_flow_stand_side_by_side(tmp_path: Path) -> None:
    rgb, flow = drawn(), {name.removeprefix("v_"): 2 * array[:8] for name, array in drawn().items() if name != "v_ü"}
    places = [str(pack_safetensors(rgb, tmp_path / "rgb")), str(write_npy(flow, tmp_path / "flow"))]
    both = FeatureSource(places, storage=Direct(), parts=None, channels=2 * WIDTH)
    assert both.videos == ("v_a", "v_b c%")
    expected = np.concatenate([rgb["v_a"][:8], flow["a"]], 1).T
    assert torch.equal(both.read("a"), torch.from_numpy(expected))
    rescaled = FeatureSource(places, storage=Direct(), parts=4, channels=2 * WIDTH).read("a")
    assert torch.equal(rescaled[:WIDTH], source(places[0], parts=4).read("a"))
    assert torch.equal(rescaled[WIDTH:], source(places[1], parts=4).read("a"))


def changed(features: Features, **changes: NDArray[np.generic]) -> Features:
    return {name.removeprefix("v_"): array for name, array in features.items()} | changes  # type: ignore[return-value]


@pytest.mark.parametrize("write", [write_npy, pack_safetensors, pack_npz])
def test_faulty_features_are_named(write: Write, tmp_path: Path) -> None:
    spoilt = drawn()["v_a"].copy()
    spoilt[4, 2] = np.nan
    endless = drawn()["v_a"].copy()
    endless[0, 5] = np.inf
    features = changed(
        drawn(), nan=spoilt, inf=endless, narrow=spoilt[:, :2], empty=spoilt[:0], cube=spoilt[None], flat=spoilt[0]
    )
    found = source(write(features, tmp_path / "features"), min_length=2)
    for name, reason in {
        "nan": r"point 4, feature 2 \(from 0\) is nan",
        "inf": r"point 0, feature 5 \(from 0\) is inf",
        "empty": "features at 0 points in time, expected at least 2",
        "b c%": "features at 1 points in time, expected at least 2",
        "cube": r"expected rows of numbers, found an array \(1, 9, 6\)",
        "flat": r"expected rows of numbers, found an array \(6,\)",
    }.items():
        with pytest.raises(MediaError, match=reason) as error:
            found.read(name)
        assert error.value.path == (
            f"{tmp_path}/features/{name}.npy" if write is write_npy else f"{tmp_path}/features.{SUFFIX[write]}:{name}"
        )


SUFFIX = {pack_safetensors: "safetensors", pack_npz: "npz"}


def test_a_wrong_width_is_said_with_what_is_expected(tmp_path: Path) -> None:
    found = source(write_csv(drawn(), tmp_path / "features"), channels=400, parts=100)
    with pytest.raises(MediaError, match="6 features at each point in time, expected 400"):
        found.read("a")


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("csv", b""),
        ("csv", b"f0,f1\n"),
        ("csv", b"f0,f1\n1,2\n3\n"),
        ("csv", b"f0,f1\n1,2\n3,x\n"),
        ("csv", b"\xff\xfe\x00"),
        ("npy", b""),
        ("npy", b"\x93NUMPY"),
        ("npy", b"cos\nsystem\n(S'true'\ntR."),
        ("npz", b"PK\x03\x04"),
        ("npz", b"PK\x05\x06" + bytes(18)),
    ],
)
def test_damaged_files(suffix: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(MediaError) as error:
        source(tmp_path).read("a")
    assert error.value.path == f"{tmp_path}/a.{suffix}"


def test_a_numpy_file_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(MediaError, match="damaged"):
        source(tmp_path).read("a")


@pytest.mark.parametrize("pack", [pack_safetensors, pack_npz, pack_npz_compressed])
def test_a_packed_file_that_was_cut_is_a_fault_wherever_it_shows(pack: Write, tmp_path: Path) -> None:
    place = pack(drawn(), tmp_path / "packed")
    whole = place.read_bytes()
    for length in range(0, len(whole), 7):
        place.write_bytes(whole[:length])
        with pytest.raises((MediaError, UserError)):  # noqa: PT012 - what still can be read, is
            found = source(place)
            for video in found.videos:
                found.read(video)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"a": {}}',
        b'{"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 9]}}',
        b'{"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [-8, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 1000000000000000000000]}}',
        b'{"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": ["0", "8"]}}',
        b'{"__metadata__": [], "a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}',
    ],
)
def test_malformed_headers_of_safetensors(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(UserError, match="not a safetensors file, or damaged"):
        source(path)


@pytest.mark.parametrize("fields", ['"F32", "shape": [1, 3]', '"F32", "shape": [1e99]', '"I8", "shape": [1, 8]'])
def test_malformed_tensors(fields: str, tmp_path: Path) -> None:
    header = f'{{"a": {{"dtype": {fields}, "data_offsets": [0, 8]}}}}'.encode()
    path = tmp_path / "p.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(MediaError, match="damaged"):
        source(path).read("a")


def test_a_header_longer_than_the_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "p.safetensors").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match=f"a header of {2**63} bytes"):
        source(tmp_path / "p.safetensors")


def test_places_without_features(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"features '.*nowhere': No such file"):
        source(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"nowhere.npz': No such file"):
        source(tmp_path / "nowhere.npz")
    (tmp_path / "readme.txt").touch()
    with pytest.raises(UserError, match=r"expected NAME.csv, NAME.npy or NAME.npz of each video, found readme.txt"):
        source(tmp_path)
    (tmp_path / "a.npy").touch()
    (tmp_path / "failures.csv").touch()
    assert source(tmp_path).videos == ("a",)
    (tmp_path / "a.csv").touch()
    with pytest.raises(UserError, match=r"files of one kind are expected, found 1 .csv, 1 .npy"):
        source(tmp_path)


def linear_by_loops(features: NDArray[np.float64], places: list[float]) -> NDArray[np.float64]:
    rows = []
    for place in places:
        lower = min(int(np.floor(place)), max(len(features) - 2, 0))
        upper = min(lower + 1, len(features) - 1)
        rows.append(features[lower] + (place - lower) * (features[upper] - features[lower]))
    return np.stack(rows)


lengths = st.integers(1, 40)


@given(lengths, st.integers(2, 120), st.integers(0, 1000))
def test_linear_and_centres_are_torch_s_interpolation(length: int, parts: int, seed: int) -> None:
    features = np.random.default_rng(seed).standard_normal((length, 3))
    wanted = torch.from_numpy(features.T)[None]
    ends = interpolate(wanted, parts, mode="linear", align_corners=True)[0].T
    centres = interpolate(wanted, parts, mode="linear", align_corners=False)[0].T
    np.testing.assert_allclose(rescale(features, parts), ends, atol=1e-5)
    np.testing.assert_allclose(rescale(features, parts, mode="centres"), centres, atol=1e-5)


@given(lengths, st.integers(1, 120), st.integers(0, 1000))
def test_mean_is_that_of_three_points_a_part(length: int, parts: int, seed: int) -> None:
    features = np.random.default_rng(seed).standard_normal((length, 3))
    if length == 1:
        expected = np.repeat(features, parts, 0)
    else:
        start, end = 1e-4, length - 1 - 1e-4
        step = (end - start) / parts
        expected = np.stack(
            [
                linear_by_loops(features, [start + part * step + third * step / 3 for third in range(3)]).mean(0)
                for part in range(parts)
            ]
        )
    np.testing.assert_allclose(rescale(features, parts, mode="mean"), expected, atol=1e-5)


def test_the_right_number_of_points_is_left_alone() -> None:
    features = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    assert np.array_equal(rescale(features, 100), features)
    assert np.array_equal(rescale(features, 100, mode="centres"), features)


def test_a_feature_that_grows_with_time_stays_in_time() -> None:
    """Feature t of 50 stands for seconds t to t + 1: at the middle of part p, second (p + 0.5) / 2."""
    times = (np.arange(50) + 0.5)[:, None]
    found = rescale(times, 100, mode="centres")[:, 0]
    np.testing.assert_allclose(found[1:-1], ((np.arange(100) + 0.5) / 2)[1:-1], atol=1e-5)
