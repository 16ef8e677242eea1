"""Command-line tokens and dotted keys: what they set, and what is said when they cannot be set."""

from __future__ import annotations

import copy
import dataclasses
import math
import shlex
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from kinema.config import apply, as_argument, leaves, parse_arguments
from kinema.errors import UserError


@dataclass(kw_only=True)
class Optim:
    lr: Annotated[float, Field(gt=0)] = 0.01
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    clip_grad: float | Literal["none"] = 40.0
    warmup_epochs: int = 0
    epochs: int = 50

    def __post_init__(self) -> None:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"{self.warmup_epochs} epochs of warm-up do not fit into {self.epochs}")


@dataclass(kw_only=True)
class Step:
    milestones: tuple[float, ...] = (20, 40)
    gamma: float = 0.1


@dataclass(kw_only=True)
class Cosine:
    floor: float = 0.0
    gamma: float = 0.1


@dataclass(kw_only=True)
class Reader:
    threads: Annotated[int, Ge(1)] = 1
    names: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Data:
    reader: Reader = field(default_factory=Reader)
    size: tuple[int, int] = (224, 224)
    root: str = ""


@dataclass(kw_only=True)
class Config:
    optim: Optim = field(default_factory=Optim)
    schedule: Step | Cosine = field(default_factory=Step)
    average: Reader | Literal["none"] = "none"
    data: Data = field(default_factory=Data)
    precision: Literal["fp32", "bf16"] = "fp32"
    depth: Literal[18, 50] = 50
    compile: bool = False
    mode: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.compile and self.depth == 18:
            raise UserError("compile needs depth 50")


def fault(values: dict[str, object], config: Config | None = None) -> str:
    with pytest.raises(UserError) as caught:
        apply(config or Config(), values)
    return str(caught.value)


def get(config: object, key: str) -> object:
    for name in key.split("."):
        config = getattr(config, name)
    return config


class TestParseArguments:
    @pytest.mark.parametrize(
        ("line", "values"),
        [
            ("", {}),
            ("--a.b-c 0.2", {"a.b_c": "0.2"}),
            ("--a.b=0.2", {"a.b": "0.2"}),
            ("--a.b=", {"a.b": ""}),
            ("--a.b=x=y", {"a.b": "x=y"}),
            ("--a.root=-x --b 1", {"a.root": "-x", "b": "1"}),
            ("--schedule.milestones 40 80 --c 1", {"schedule.milestones": ["40", "80"], "c": "1"}),
            ("--runtime.compile", {"runtime.compile": True}),
            ("--compile --lr 1", {"compile": True, "lr": "1"}),
            ("--a -1e-4 --b -3 -.5", {"a": "-1e-4", "b": ["-3", "-.5"]}),
            ("--input - --text 'two words' ''", {"input": "-", "text": ["two words", ""]}),
            ("--data.train /some-dir/a--b.csv", {"data.train": "/some-dir/a--b.csv"}),
        ],
    )
    def test_reads(self, line: str, values: dict[str, object]) -> None:
        assert parse_arguments(shlex.split(line)) == values

    def test_names_every_fault_at_once(self) -> None:
        with pytest.raises(UserError) as caught:
            parse_arguments(["stray", "--a.b-c", "1", "--m=40", "80", "-lr", "0.1", "--a.b_c", "2"])
        message = str(caught.value)
        assert [part in message for part in ("'stray'", "'80'", "-lr", "--a.b-c: given twice")] == [True] * 4
        assert message.count("\n") == 5, "a title, the four and the stray value after -lr"

    @given(
        st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,2}", fullmatch=True),
            st.lists(st.from_regex(r"[a-z0-9/.]+|-[0-9]+", fullmatch=True), max_size=3),
            max_size=4,
        )
    )
    def test_splits_any_line_where_it_was_joined(self, given_values: dict[str, list[str]]) -> None:
        tokens = [token for key, items in given_values.items() for token in ("--" + key.replace("_", "-"), *items)]
        parsed = parse_arguments(tokens)
        as_lists = {k: [] if v is True else [v] if isinstance(v, str) else v for k, v in parsed.items()}
        assert as_lists == given_values


class TestApply:
    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("optim.lr", "1e-4", 1e-4),
            ("optim.lr", 1, 1.0),
            ("optim.clip_grad", "none", "none"),
            ("optim.clip_grad", "5", 5.0),
            ("optim.epochs", "3", 3),
            ("optim.epochs", "-3", -3),
            ("optim.epochs", 3.0, 3),
            ("schedule.milestones", "30", (30.0,)),
            ("schedule.milestones", 30, (30.0,)),
            ("schedule.milestones", ["30", "60.5"], (30.0, 60.5)),
            ("schedule.milestones", [30, 60], (30.0, 60.0)),
            ("schedule.milestones", "", ()),
            ("data.size", ["256", "340"], (256, 340)),
            ("data.reader.names", "a", ("a",)),
            ("data.reader.names", ["a", "5"], ("a", "5")),
            ("data.root", "5", "5"),
            ("data.root", "none", "none"),
            ("data.root", "", ""),
            ("precision", "bf16", "bf16"),
            ("depth", "18", 18),
            ("depth", 18, 18),
            ("compile", True, True),
            ("compile", "true", True),
            ("compile", "false", False),
            ("mode", True, True),
            ("mode", "false", False),
            ("average", "none", "none"),
        ],
    )
    def test_takes(self, key: str, value: object, expected: object) -> None:
        config = Config(optim=Optim(warmup_epochs=-9))
        found = get(apply(config, {key: value}), key)
        assert found == expected
        assert type(found) is type(expected)
        if isinstance(found, tuple) and isinstance(expected, tuple):
            assert [type(item) for item in found] == [type(item) for item in expected]

    @pytest.mark.parametrize(
        ("key", "value", "allowed"),
        [
            ("optim.lr", "abc", "a number above 0"),
            ("optim.lr", "0", "a number above 0"),
            ("optim.lr", True, "a number above 0"),
            ("optim.lr", "nan", "a number above 0"),
            ("optim.lr", "inf", "a number above 0"),
            ("optim.lr", ["1", "2"], "a number above 0"),
            ("optim.lr", None, "a number above 0"),
            ("optim.weight_decay", "-1", "a number at least 0"),
            ("optim.clip_grad", "nan", "a number or none"),
            ("optim.clip_grad", True, "a number or none"),
            ("optim.clip_grad", "never", "a number or none"),
            ("optim.epochs", 2.7, "an integer"),
            ("optim.epochs", "2.7", "an integer"),
            ("optim.epochs", True, "an integer"),
            ("data.reader.threads", "0", "an integer at least 1"),
            ("schedule.milestones", ["1", "x"], "a list, each a number"),
            ("schedule.milestones", ["1", "inf"], "a list, each a number"),
            ("schedule.milestones", [1, True], "a list, each a number"),
            ("schedule.milestones", True, "a list, each a number"),
            ("data.size", "256", "2 values, each an integer"),
            ("data.size", ["1", "2", "3"], "2 values, each an integer"),
            ("data.root", True, "text"),
            ("data.root", ["a", "b"], "text"),
            ("precision", "fp8", "one of fp32, bf16"),
            ("depth", "34", "one of 18, 50"),
            ("compile", "5", "true or false"),
            ("compile", 5, "true or false"),
            ("mode", "maybe", "true or false or auto"),
            ("average", "5", "allowed: none"),
        ],
    )
    def test_refuses(self, key: str, value: object, allowed: str) -> None:
        message = fault({key: value})
        assert message.startswith(f"--{key.replace('_', '-')}: found ")
        assert message.endswith(allowed)
        assert ("true" if value is True else repr(value)) in message
        assert "input" not in message.lower(), "pydantic's own words do not belong here"

    def test_the_recipes_config_stays_as_it_is_and_shares_no_group(self) -> None:
        config = Config()
        before = copy.deepcopy(config)
        result = apply(config, {"optim.lr": "0.5", "data.reader.threads": "4"})
        assert config == before
        assert result == Config(optim=Optim(lr=0.5), data=Data(reader=Reader(threads=4)))
        assert result.data is not config.data
        assert result.schedule is not config.schedule

    def test_names_every_fault_at_once(self) -> None:
        message = fault({"optim.lr": "x", "data.size": "1", "nonsense": 1, "schedule.floor": 1, "compile": "true"})
        starts = [line.strip().partition(":")[0] for line in message.splitlines()[1:]]
        assert sorted(starts) == ["--data.size", "--nonsense", "--optim.lr", "--schedule.floor"]

    @given(st.floats())
    def test_a_bound_and_finiteness_hold_for_every_float(self, number: float) -> None:
        if math.isfinite(number) and number > 0:
            assert apply(Config(), {"optim.lr": repr(number)}).optim.lr == number
            assert apply(Config(), {"optim.lr": number}).optim.lr == number
        else:
            fault({"optim.lr": number})
            fault({"optim.lr": repr(number)})

    @given(st.floats(-1e6, 1e6) | st.integers(-1000, 1000).map(float))
    def test_an_integer_option_takes_whole_numbers_only(self, number: float) -> None:
        if number == int(number):
            assert apply(Config(), {"data.size": [number, 1]}).data.size == (int(number), 1)
        else:
            fault({"data.size": [number, 1]})


class TestUnknownKeys:
    def test_the_same_name_elsewhere_is_offered(self) -> None:
        assert "did you mean '--optim.lr'?" in fault({"lr": "0.1"})
        assert "did you mean '--data.reader.threads'?" in fault({"data.threads": "2"})

    def test_every_dropped_letter_leads_back_to_its_key(self) -> None:
        for key in leaves(Config()):
            for at in range(len(key)):
                typo = key[:at] + key[at + 1 :]
                if typo not in leaves(Config()):
                    assert f"did you mean '--{key.replace('_', '-')}'?" in fault({typo: "1"})

    def test_nothing_near_is_offered_nothing(self) -> None:
        assert fault({"zzzz": "1"}) == "--zzzz: no such option"

    def test_a_group_lists_its_options(self) -> None:
        message = fault({"data": "3"})
        assert message.startswith("--data: a group")
        assert message.endswith("--data.reader.threads, --data.reader.names, --data.size, --data.root")

    @pytest.mark.parametrize(
        ("config", "key", "branch", "here"),
        [
            (Config(), "schedule.floor", "Cosine", "Step"),
            (Config(schedule=Cosine()), "schedule.milestones", "Step", "Cosine"),
            (Config(), "average.threads", "Reader", "none"),
        ],
    )
    def test_an_option_of_a_unions_other_branch(self, config: Config, key: str, branch: str, here: str) -> None:
        message = fault({key: "1"}, config)
        assert f"an option of {branch}" in message
        assert f"{key.partition('.')[0]} is {here} in this recipe" in message

    def test_a_name_that_both_branches_have_belongs_to_neither_alone(self) -> None:
        assert fault({"schedule.gamma.x": "1"}).endswith("no such option; did you mean '--schedule.gamma'?")

    def test_a_branch_that_the_recipe_chose_is_set_and_kept(self) -> None:
        config = Config(schedule=Cosine(), average=Reader())
        result = apply(config, {"schedule.floor": "0.5", "average.threads": "2"})
        assert result == Config(schedule=Cosine(floor=0.5), average=Reader(threads=2))
        assert "a group" in fault({"average": "none"}, config)


class TestOwnChecks:
    def test_a_groups_own_fault_carries_its_key(self) -> None:
        assert fault({"optim.warmup_epochs": "60"}) == "optim: 60 epochs of warm-up do not fit into 50"

    def test_the_configs_own_fault_and_others_come_together(self) -> None:
        assert fault({"compile": True, "depth": "18"}) == "config: compile needs depth 50"
        message = fault({"optim.warmup_epochs": "60", "data.root": True})
        assert "optim: 60 epochs" in message
        assert "data.root: found" in message

    def test_a_group_with_a_refused_value_is_not_judged_as_a_whole(self) -> None:
        message = fault({"optim.warmup_epochs": "60", "optim.epochs": "many"})
        assert message == "--optim.epochs: found 'many'; allowed: an integer"

    def test_two_keys_that_fit_only_together(self) -> None:
        result = apply(Config(), {"optim.warmup_epochs": "60", "optim.epochs": "70"})
        assert result.optim == Optim(warmup_epochs=60, epochs=70)


texts = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda text: not text.startswith("-"))
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.fixed_dictionaries(
        {
            "optim.clip_grad": st.just("none") | numbers,
            "optim.epochs": st.integers(min_value=0),
            "schedule.milestones": st.lists(numbers, max_size=4).map(tuple),
            "data.reader.names": st.lists(texts.filter(bool), max_size=3).map(tuple),
            "data.size": st.tuples(st.integers(), st.integers()),
            "data.root": texts,
            "precision": st.sampled_from(["fp32", "bf16"]),
            "compile": st.booleans(),
            "mode": st.booleans() | st.just("auto"),
        }
    )
)
def test_a_value_as_an_argument_is_read_back_through_a_shell(values: dict[str, object]) -> None:
    line = " ".join(f"--{key} {as_argument(value)}" for key, value in values.items())
    result = apply(Config(), parse_arguments(shlex.split(line)))
    assert {key: get(result, key) for key in values} == values


def test_leaves_are_the_options_in_the_order_of_the_fields() -> None:
    found = leaves(Config(schedule=Cosine()))
    own = [f"optim.{option.name}" for option in dataclasses.fields(Optim)]
    data = ["data.reader.threads", "data.reader.names", "data.size", "data.root"]
    assert list(found) == [
        *own,
        "schedule.floor",
        "schedule.gamma",
        "average",
        *data,
        "precision",
        "depth",
        "compile",
        "mode",
    ]
    assert found["optim.epochs"].value == 50
    assert found["optim.epochs"].hint is int
