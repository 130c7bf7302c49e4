"""`inbond catalog`: what may be asked of whom, on 80 columns or as JSON, and nothing that no contract publishes."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from federation.catalog_cli import app
from federation.catalogue import PartyEntry
from federation.client import Researcher
from inbond.errors import InbondError
from policies.contract import PublishedContract
from tests.policies.samples import contract

KEY = {"as": "order-id", "rows_per_key": 2, "counterparts": {"m*": ["set size bucket", "group counts"], "w1": []}}
COLUMNS: dict[str, Any] = {
    "order_id": {"type": "text", "class": "pseudonymous", "category": "order_ref", "uses": ["join"], "key": KEY},
    "country": {"type": "text", "class": "public", "uses": ["group"], "domain": [f"land {i}" for i in range(40)]},
    "amount": {"type": "money", "class": "commercial", "uses": ["aggregate"], "bounds": [0, 1234567.89]},
    "paid": {"type": "bool", "class": "operational", "uses": ["filter"], "domain": [True, False]},
    "note": {"type": "text", "class": "personal", "category": "order_ref"},
}


def published(party: str, country: str, **changes: Any) -> PartyEntry:
    held = contract(jurisdiction=country, columns=COLUMNS, **changes).model_dump(by_alias=True, exclude={"source"})
    return PartyEntry(party, country, {"orders": PublishedContract.model_validate(held)})


ENTRIES = {
    "p1": published(
        "p1",
        "DE",
        published_rows=12_000,
        noise={"mode": "required", "epsilon": 0.5},
        budget={"epsilon": 3.0},
        max_rows_per_subject=4,
    ),
    "p2": published("p2", "FR", controller="Evil\x1b[2J SARL", agreement={"recipients": ["rosa", "m*"]}),
}


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A researcher who sees ENTRIES."""

    class Looking:
        def __enter__(self) -> "Looking":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def catalogue(self) -> dict[str, PartyEntry]:
            return ENTRIES

    monkeypatch.setattr(Researcher, "open", lambda home: Looking() if str(home) == "rosa" else None)


def said(*arguments: str) -> str:
    """What `inbond catalog ...` prints."""
    done = CliRunner().invoke(app, [*arguments])
    if done.exception is not None:
        raise done.exception
    return str(done.stdout)


def line(text: str, start: str) -> list[str]:
    """The words of the first line that begins so."""
    return next(one for one in text.splitlines() if one.startswith(start)).split()


@pytest.mark.parametrize("arguments", [("--home", "rosa"), ("list", "--home", "rosa"), ("--home", "rosa", "list")])
def test_without_a_word_it_lists(arguments: tuple[str, ...]) -> None:
    told = said(*arguments)
    assert line(told, "orders") == ["orders", "p1", "(DE),", "p2", "(FR)", "order_id", "FraudPreventionAndDetection"]


@pytest.mark.parametrize("arguments", [("--json",), ("list", "--json"), ("--json", "list")])
def test_as_json_the_list_has_every_contract_as_it_is_published(arguments: tuple[str, ...]) -> None:
    found = json.loads(said("--home", "rosa", *arguments))
    assert [(one["party"], one["country"], one["dataset"]) for one in found] == [
        ("p1", "DE", "orders"),
        ("p2", "FR", "orders"),
    ]
    assert found[0]["columns"]["country"]["domain"] == COLUMNS["country"]["domain"]


@pytest.mark.parametrize("command", [(), ("list",), ("show", "orders")])
def test_tables_fit_eighty_columns_and_drive_no_terminal(command: tuple[str, ...]) -> None:
    told = said("--home", "rosa", *command)
    assert max(map(len, told.splitlines())) <= 80
    assert "\x1b" not in told


def test_a_column_is_shown_with_its_type_class_uses_and_values() -> None:
    told = said("show", "orders", "--home", "rosa")
    assert line(told, "amount") == ["amount", "money", "commercial", "aggregate", "0", "to", "1234567.89"]
    assert line(told, "paid") == ["paid", "bool", "operational", "filter", "true,", "false"]
    assert line(told, "note") == ["note", "text", "personal", "none", "-"]
    assert "(40 values)" in told
    assert "land 39" not in told


def test_a_join_key_is_shown_with_its_normalisation_and_what_whom_it_tells() -> None:
    told = said("show", "orders", "--home", "rosa")
    rows = [one.split() for one in told.splitlines() if one.startswith("order_id  order-id")]
    assert rows == [
        ["order_id", "order-id", "2", "m*", "set", "size", "bucket,", "group", "counts"],
        ["order_id", "order-id", "2", "w1", "nothing", "more"],
    ]


def test_terms_that_owners_share_are_told_once_and_others_by_owner() -> None:
    told = said("show", "orders", "--home", "rosa")
    assert line(told, "minimum group") == ["minimum", "group", "5", "rows", "p1,", "p2"]
    noise = [one.split() for one in told.splitlines() if one.startswith("noise")]
    assert noise == [["noise", "required,", "epsilon", "at", "most", "0.5", "p1"], ["noise", "none", "p2"]]
    assert line(told, "budget")[1:3] == ["epsilon", "3,"]
    assert line(told, "expires")[1] == "2036-01-31T00:00+00:00"
    assert line(told, "agreement") == ["agreement", "must", "cover", "rosa,", "m*", "p2"]


def test_how_many_rows_there_are_is_told_by_those_alone_who_publish_it() -> None:
    told = said("show", "orders", "--home", "rosa")
    assert [one.split() for one in told.splitlines() if one.startswith("rows  ")] == [["rows", "about", "12,000", "p1"]]
    owners = json.loads(said("show", "orders", "--json", "--home", "rosa"))["owners"]
    assert [one["published_rows"] for one in owners] == [12_000, None]


def test_an_unknown_dataset_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(InbondError, match=r"no party publishes `order`; did you mean `orders`\?"):
        said("show", "order", "--home", "rosa")
