"""JSON that any strict reader takes."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema import strict_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
    max_leaves=20,
)


def refuse(constant: str) -> None:
    pytest.fail(f"{constant} is not JSON")


def expected(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [expected(item) for item in value]
    if isinstance(value, dict):
        return {key: expected(item) for key, item in value.items()}
    return value


@given(values)
def test_what_is_not_finite_is_null(value: object) -> None:
    assert json.loads(strict_json.dumps(value), parse_constant=refuse) == expected(value)
