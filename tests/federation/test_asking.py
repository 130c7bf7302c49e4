"""What a person says about a query becomes the fields of its job, or is refused in one line."""

from typing import Any

import pytest

from federation.asking import Question, job_fields, read_parameters
from inbond.errors import ConfigError


def test_epsilon_asks_for_laplace_noise_and_delta_makes_it_gaussian() -> None:
    assert "privacy" not in job_fields({"purpose": "dpv:X"})
    laplace = job_fields({"purpose": "dpv:X", "epsilon": 1.0})
    assert laplace == {"purpose": "dpv:X", "privacy": {"mechanism": "laplace", "epsilon": 1.0, "delta": 0.0}}
    gaussian = job_fields({"epsilon": 1.0, "delta": 1e-6})
    assert gaussian["privacy"] == {"mechanism": "gaussian", "epsilon": 1.0, "delta": 1e-6}


def test_everything_else_is_passed_on_as_it_is() -> None:
    asked: Question = {"parties": ["p1", "p2"], "matching": "hidden", "parameters": {"low": 3}, "minimum_parties": 3}
    assert job_fields(asked) == asked


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"delta": 1e-6}, "delta: needs an epsilon too; the privacy loss, such as epsilon 1.0"),
        ({"protection": "plain"}, "protection: a query is never answered in the clear; encrypted"),
        ({"protection": "none"}, "protection: a query is never answered in the clear; encrypted"),
    ],
)
def test_what_no_query_can_have_is_refused(asked: Any, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        job_fields(asked)
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2000", 2000),
        ("-3", -3),
        ("0.25", 0.25),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("DE", "DE"),
        ("", ""),
        ("2026-01-31", "2026-01-31"),
        ("007", "007"),
        ('"2000"', "2000"),
        ('"a \\"b\\""', 'a "b"'),
        ("a=b", "a=b"),
        ("null", "null"),
        ("NaN", "NaN"),
        ("[1]", "[1]"),
    ],
)
def test_a_parameter_is_a_number_a_flag_or_text(text: str, value: Any) -> None:
    found = read_parameters([f"x={text}"])["x"]
    assert (found, type(found)) == (value, type(value))


def test_there_may_be_several() -> None:
    assert read_parameters(["low=1", "land=DE"]) == {"low": 1, "land": "DE"}
    assert read_parameters([]) == {}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["low"], "--param: `low` is no name and value; name=value, such as low=2000"),
        (["=3"], "--param: `=3` is no name and value; name=value, such as low=2000"),
        ([""], "--param: `` is no name and value; name=value, such as low=2000"),
        (["a=1", "a=2"], "--param: `a` is given twice; one value for each name"),
        (['a="b"c"'], "--param: `a` has a quote in its text; a=text, or text in double quotes with JSON's escapes"),
    ],
)
def test_what_is_no_parameter_is_told(given: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_parameters(given)
    assert str(refused.value) == told
