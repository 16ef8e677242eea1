"""Configs as YAML: complete, exact, and clear about what is wrong with a file."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kinema.config import apply, dump, read
from kinema.errors import UserError


@dataclass(kw_only=True)
class Step:
    milestones: tuple[float, ...] = (20.0, 40.0)
    gamma: float = 0.1


@dataclass(kw_only=True)
class Cosine:
    gamma: float = 0.0


@dataclass(kw_only=True)
class Data:
    size: tuple[int, int] = (224, 224)
    classes: tuple[str, ...] = ()
    root: str = ""


@dataclass(kw_only=True)
class Config:
    schedule: Step | Cosine = field(default_factory=Step)
    data: Data = field(default_factory=Data)
    clip: float | Literal["none"] = "none"
    switch: Literal["on", "off", "no"] = "no"
    depth: Literal[18, 50] = 18
    epochs: int = 100
    compile: bool = False


numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [
        "1e-4",
        "no",
        "~",
        "12:30",
        "2024-01-01",
        " a ",
        "a: b",
        "#",
        "- x",
        "null",
        "!!int 3",
        "0x10",
        "007",
        "é \u2028",
        "\x85",
        "a\r\nb",
    ]
)
step = st.builds(Step, milestones=st.lists(numbers, max_size=12).map(tuple), gamma=numbers)
cosine = st.builds(Cosine, gamma=numbers)
rest: dict[str, Any] = {
    "data": st.builds(
        Data,
        size=st.tuples(st.integers(), st.integers()),
        classes=st.lists(texts, max_size=4).map(tuple),
        root=texts,
    ),
    "clip": numbers | st.just("none"),
    "switch": st.sampled_from(["on", "off", "no"]),
    "depth": st.sampled_from([18, 50]),
    "epochs": st.integers(),
    "compile": st.booleans(),
}
configs = st.builds(Config, schedule=step, **rest) | st.builds(Config, schedule=cosine, **rest)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "config.yaml"


@given(config=configs)
def test_a_dumped_config_is_read_back_exactly(path: Path, config: Config) -> None:
    recipe = Config(schedule=type(config.schedule)())
    text = dump(config, recipe="some_recipe")
    path.write_text(text, encoding="utf-8")
    name, values = read(path)
    again = apply(recipe, values)
    assert name == "some_recipe"
    assert again == config
    assert repr(again) == repr(config), "0.0 and -0.0, 1 and 1.0 and True are equal, but not the same"
    assert dump(again, recipe="some_recipe") == text


@given(config=configs)
def test_any_yaml_reader_gets_the_same_values(config: Config) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return list(value) if isinstance(value, tuple) else value

    document = yaml.safe_load(dump(config, recipe="r"))
    assert document == {"recipe": "r", **plain(dataclasses.asdict(config))}
    assert list(document) == ["recipe", *(option.name for option in dataclasses.fields(Config))]
    assert repr(document["schedule"]["gamma"]) == repr(config.schedule.gamma), "a float is a float, not text"


def test_reads_as_a_person_would_write_it() -> None:
    shared = ("left", "right")
    config = Config(data=Data(classes=shared), schedule=Step(milestones=(40.0, 80.0), gamma=1e-5))
    lines = dump(config, recipe="tsn").splitlines()
    assert lines[0] == "recipe: tsn"
    assert lines[1:3] == ["schedule:", "  milestones: [40.0, 80.0]"]
    assert "  classes: [left, right]" in lines
    assert "compile: false" in lines
    assert "clip: none" in lines


def test_two_options_with_one_tuple_need_no_anchor() -> None:
    @dataclass(kw_only=True)
    class Pair:
        train: tuple[int, int]
        val: tuple[int, int]

    both = (256, 340)
    assert dump(Pair(train=both, val=both), recipe="r").splitlines()[1:] == ["train: [256, 340]", "val: [256, 340]"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("recipe: r\nclip: 1e-4\n", {"clip": "1e-4"}),
        ("recipe: r\nswitch: no\n", {"switch": "no"}),
        ("recipe: r\ndata:\n  root: 2024-01-01\n", {"data.root": "2024-01-01"}),
        ("recipe: r\ndata.root: 007\n", {"data.root": "007"}),
        ("data: {size: [1, 2], root: x}\nrecipe: r\n", {"data.size": ["1", "2"], "data.root": "x"}),
        ("# a note\nrecipe: r\ndata: {}\n", {}),
    ],
)
def test_values_are_what_is_written(path: Path, text: str, values: dict[str, object]) -> None:
    path.write_text(text, encoding="utf-8")
    assert read(path) == ("r", values)
    apply(Config(), read(path)[1])


@pytest.mark.parametrize(
    ("text", "line", "fragment"),
    [
        ("recipe: r\nclip: [1, 2\ndepth: 3\n", 3, "not YAML"),
        ("recipe: r\n\tclip: 1\n", 2, "not YAML"),
        ("recipe: r\nclip: a: b\n", 2, "not YAML"),
        ("recipe: r\n---\nclip: 1\n", 2, "not YAML"),
        ("recipe: é\nclip: \x07\n", 2, r"'\x07'"),
        ("recipe: r\nclip: *other\n", 2, "other"),
        ("recipe: r\nclip: 1\ndepth: 18\nclip: 2\n", 4, "'clip' is given twice, first in line 2"),
        ("recipe: r\ndata:\n  root: a\n  root: b\n", 4, "'data.root' is given twice, first in line 3"),
        ("recipe: r\ndata:\n  root: a\ndata:\n  size: [1, 1]\n", 4, "'data' is given twice, first in line 2"),
        ("recipe: r\ndata.root: a\ndata: {root: b}\n", 3, "'data.root' is given twice, first in line 2"),
        ("recipe: r\nrecipe: s\n", 2, "'recipe' is given twice"),
        ("recipe: r\n? [a, b]\n: 1\n", 2, "as a key"),
        ("", None, "top level"),
        ("- a\n- b\n", None, "top level"),
        ("just text\n", None, "top level"),
        ("clip: 1\n", None, "found no recipe"),
        ("recipe:\nclip: 1\n", None, "found no recipe"),
        ("recipe: [a]\nclip: 1\n", None, "found no recipe"),
    ],
)
def test_a_fault_names_file_and_line(path: Path, text: str, line: int | None, fragment: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line {line}: " if line else f"{path}: ")
    assert fragment in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "weights.yaml").write_bytes(b"\x80\x04\x95recipe: r")
    for name in ("weights.yaml", "absent.yaml", "."):
        with pytest.raises(UserError) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_tags_build_no_python_objects(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "c.yaml").write_text(f"recipe: r\nclip: !!python/object/apply:os.mkdir ['{marker}']\n", "utf-8")
    assert read(tmp_path / "c.yaml")[1] == {"clip": [str(marker)]}
    assert not marker.exists()
