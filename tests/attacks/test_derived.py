"""Attack 24, the chain of derived datasets: an answer that is offered again carries its purpose and places with it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance.audit.entry import EntryType
from inbond import codec
from inbond.origin import KEY, Origin, check_origin, labelled, read_origin
from inbond.records import texts
from inbond.result_files import write_answer
from inbond.tokens import payload_of
from parties.catalogue import Catalogue
from policies.errors import InvalidInput
from policies.law.law import load_law
from tests.bad_input.homes import Party, certified_home, furnish, prove
from tests.inbond.test_result_files import ANSWER
from tests.policies.samples import CONTRACT, contract, query_spec
from tests.support.authority import TestAuthority

FRAUD, ADS = "dpv:FraudPreventionAndDetection", "dpv:Marketing"
MADE = Origin(job="job-00000001", plan="ab" * 32, purpose=FRAUD, countries=("DE", "FR"))


def _label(home: Path, origin: Origin) -> None:
    """Make the party's table one that came out of a job."""
    table = pq.read_table(home / "orders.parquet")
    pq.write_table(labelled(table, origin), home / "orders.parquet")


def test_an_answer_on_disk_says_where_it_came_from(tmp_path: Path) -> None:
    write_answer(ANSWER, tmp_path / "answer.parquet")
    found = read_origin(tmp_path / "answer.parquet")
    assert found is not None
    assert (found.job, found.purpose) == (ANSWER.job, ANSWER.plan.purpose)
    assert set(found.countries) == {reader.country for reader in ANSWER.plan.readers}
    pq.write_table(pa.table({"a": [1]}), tmp_path / "plain.parquet")
    assert read_origin(tmp_path / "plain.parquet") is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"purposes": [FRAUD, ADS]}, f"was not made for purposes {ADS}; {FRAUD} alone"),
        ({"recipients": {"countries": ["DE", "CN"]}}, "was not made for readers in CN"),
    ],
)
def test_a_contract_may_not_allow_more_than_the_answer_was_for(changes: dict[str, Any], told: str) -> None:
    narrow = {"recipients": {"countries": ["DE"]}, "purposes": [FRAUD]}
    check_origin(contract(**narrow), MADE)
    with pytest.raises(InvalidInput, match=told):
        check_origin(contract(**{**narrow, **changes}), MADE)


def test_a_party_does_not_start_with_such_a_table(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    furnish(tmp_path)
    Catalogue(tmp_path).check(load_law())
    _label(tmp_path, MADE)
    with pytest.raises(InvalidInput, match="was not made for readers in NO"):
        Catalogue(tmp_path).check(load_law())


def test_a_damaged_label_is_no_missing_one(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({KEY: b"{}"}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInput, match=r"inbond\.origin"):
        read_origin(tmp_path / "a.parquet")


def test_attack_24_a_derived_table_is_denied_for_another_purpose_and_the_log_says_why(tmp_path: Path) -> None:
    authority = TestAuthority("acme.example")
    certified_home(authority, "party", "p1", tmp_path / "p1")
    furnish(tmp_path / "p1", CONTRACT.replace(f"[{FRAUD}]", f"[{FRAUD}, {ADS}]"))
    prove(tmp_path / "p1")
    party = Party.open(authority, tmp_path / "p1", authority.node("user/rosa"))

    def asked() -> dict[str, Any]:
        order, token = party.order(query_spec(purpose=ADS))
        reply = party.admit(order, token, plan=party.own_plan(order))
        found: dict[str, Any] = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
        return found

    assert asked()["effect"] == "permit"
    _label(party.home, MADE.model_copy(update={"countries": ("DE", "FR", "NO")}))  # put there while the party runs
    verdict, entry = asked(), party.entries()[-1]
    party.close()
    assert verdict["effect"] == "deny"
    assert f"was not made for purposes {ADS}" in " ".join(verdict["reasons"])
    assert entry.type is EntryType.REFUSAL
    assert f"was not made for purposes {ADS}" in str(entry.data)
