"""The law's masks in a job: told in the verdict, carried out by the connector in queries, trainings and the guard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance.law_files import law_of
from compliance.law_store import FILE
from compliance.records import RecordStore
from examples.papers import papers
from federation.planner import RecipeInfo, make_plan
from inbond import codec
from inbond.records import texts
from inbond.tokens import payload_of
from parties.lawfulness import Lawfulness
from parties.recipes.fraud import recipe as fraud
from policies.contract import ColumnType, load_contract
from policies.evidence import load_evidence
from policies.query.compiled import Fragment
from policies.verdict import RefusedError
from tests.attacks.asking import BUDGET, ROWS, Asked
from tests.bad_input.homes import Party, certified_home, furnish, prove
from tests.policies.law.vietnam import vietnam
from tests.policies.samples import CONTRACT, query_spec, train_spec
from tests.support.authority import TestAuthority

NUMBERS = [f"4111{group}222{last}" for group in ("11", "22") for last in range(20)]
FULL = NUMBERS[0]
PAN = CONTRACT.replace("category: order_ref, uses: [filter, group], domain: [a, b]",
                       f"category: pan, uses: [filter, group], domain: ['{FULL}', '411111']")  # fmt: skip
TRUNCATED = PAN.replace("  residence: [DE]\n", "  residence: [DE]\n  facts: {pan_form: truncated}\n")
FOUR = "views: {masks: [{column: customer, form: prefix, size: 4}]}\n"
SEVEN = FOUR.replace("4", "7")
ASKED = "SELECT country, COUNT(*) AS n FROM orders WHERE customer = '411111' GROUP BY country"
DUTY = papers("p1", "DE", dict.fromkeys(("p2", "p3", "rosa", "coordinator"), "DE"))["duties.yaml"]


def _cards(home: Path, numbers: list[str]) -> None:
    """The sample table, whose customers are card numbers."""
    path = home / "orders.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index("customer"), "customer", [numbers]), path)


def _prove_scope(home: Path) -> None:
    """A record of the obligation that every form of a card number brings."""
    with RecordStore.open(home / FILE, lambda _subject, _data: None) as store:
        text = DUTY.replace("- OBL_ROPA\n", "- OBL_PCI_SCOPE\n")
        assert text != DUTY
        store.add(load_evidence(text, "scope"))


def _opened(home: Path, text: str) -> Party:
    authority = TestAuthority("acme.example")
    certified_home(authority, "party", "p1", home)
    furnish(home, text)
    _cards(home, NUMBERS)
    prove(home)
    _prove_scope(home)
    return Party.open(authority, home, authority.node("user/rosa"))


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    """A party that says of its card numbers that they are truncated, and holds them whole."""
    made = _opened(tmp_path / "p1", TRUNCATED)
    yield made
    made.close()


def _rewritten(party: Party, text: str) -> None:
    party.door._catalogue.contracts["orders"] = load_contract(text, "orders.yaml")


def _asked(party: Party, sql: str = ASKED) -> tuple[dict[str, Any], str]:
    order, token = party.order(query_spec(sql=sql))
    reply = party.admit(order, token, plan=party.own_plan(order))
    assert reply.status == "ok", reply.reason
    return payload_of(texts(codec.decode(reply.body), "verdict", "token")[0]), order.jti


def _seen(party: Party, job: str) -> list[str]:
    """What the owner's engine shows the job of the card numbers."""
    sql = "SELECT customer AS g_0, COUNT(*) AS v_n FROM t0 GROUP BY customer"
    outputs = {"g_0": ColumnType.TEXT, "v_n": ColumnType.INT}
    context = party.jobs.get(job).context
    held = party.jobs._run_fragment(context, Fragment(sql, {}, {"t0": ("orders", ("customer",))}, outputs))
    assert sum(held["v_n"]) == len(NUMBERS)
    return sorted(held["g_0"])


def _why(verdict: dict[str, Any]) -> str:
    return " ".join(verdict["reasons"])


def test_what_is_said_to_be_truncated_is_cut_where_it_is_read_and_the_verdict_says_by_which_obligation(
    party: Party,
) -> None:
    verdict, job = _asked(party)
    assert verdict["effect"] == "permit", _why(verdict)
    assert "Permitted if `customer` is cut to its first 6 characters, by OBL_PCI_TRUNCATION." in verdict["reasons"]
    (mask,) = (one for one in verdict["obligations"] if one["kind"] == "mask")
    assert (mask["parameters"]["column"], mask["parameters"]["by"]) == ("customer", "OBL_PCI_TRUNCATION")
    assert all("OBL_PCI_TRUNCATION (atomic)" in one["obligations"] for one in verdict["transfers"])
    assert {"P4"} <= {rule for one in verdict["transfers"] for rule in one["rules"]}
    logged: Any = party.entries()[-1].data
    assert "by OBL_PCI_TRUNCATION" in " ".join(logged["reasons"])
    assert _seen(party, job) == ["411111", "411122"]


def test_a_job_that_does_not_read_the_column_is_told_of_no_mask(party: Party) -> None:
    verdict, _ = _asked(party, "SELECT country, COUNT(*) AS n FROM orders GROUP BY country")
    assert verdict["effect"] == "permit", _why(verdict)
    assert "customer" not in _why(verdict)


@pytest.mark.parametrize(("views", "seen", "size"), [(FOUR, ["4111"], 4), (SEVEN, ["411111", "411122"], 6)])
def test_of_the_contracts_mask_and_the_laws_the_stricter_holds(
    party: Party, views: str, seen: list[str], size: int
) -> None:
    _rewritten(party, TRUNCATED.replace("uses: [filter, group], domain: ['", "uses: [filter], domain: ['") + views)
    verdict, job = _asked(party)
    assert f"`customer` is cut to its first {size} characters, by OBL_PCI_TRUNCATION" in _why(verdict)
    assert _seen(party, job) == seen


def test_whole_card_numbers_are_refused_and_a_mask_of_the_contract_makes_them_lawful(party: Party) -> None:
    clear = PAN.replace("uses: [filter, group], domain: ['", "uses: [filter], domain: ['")
    _rewritten(party, clear)
    verdict, _ = _asked(party)
    assert verdict["effect"] == "deny"
    assert "[P3, PCI DSS v4.0.1 req. 3.5.1]" in _why(verdict)
    assert "with leaving out `customer` the object is PERSONAL: permitted under G4" in _why(verdict)
    assert "a mask of the contract that cuts the card number to its first six digits" in _why(verdict)
    for views, effect in ((SEVEN, "deny"), (SEVEN.replace("7", "6"), "permit"), (FOUR, "permit")):
        _rewritten(party, clear + views)
        verdict, _ = _asked(party)
        assert verdict["effect"] == effect, _why(verdict)
    _rewritten(party, clear + FOUR.replace("form: prefix, size: 4", "form: nothing"))
    verdict, _ = _asked(party)
    assert verdict["effect"] == "permit"
    assert "pci" not in {regime for one in verdict["transfers"] for regime in one["regimes"]}, "nothing of them leaves"


def test_grouping_by_a_masked_column_is_refused_with_rule_article_and_what_to_leave_out(party: Party) -> None:
    verdict, job = _asked(party, "SELECT customer, COUNT(*) AS n FROM orders GROUP BY customer")
    assert verdict["effect"] == "deny"
    assert "a masked column cannot be grouped by [P4-truncated: OBL_PCI_TRUNCATION, PCI DSS v4.0.1" in _why(verdict)
    assert "group by another column, or leave out `customer`, `GROUP BY customer`" in _why(verdict)
    assert party.store.job(job) is None


def test_a_party_that_starts_again_masks_as_it_admitted(party: Party) -> None:
    _, job = _asked(party)
    again = Party.open(party.authority, party.home, party.researcher)
    try:
        assert _seen(again, job) == ["411111", "411122"]
    finally:
        again.close()


def test_the_differencing_guard_compares_what_is_seen(tmp_path: Path) -> None:
    asked = Asked.make(tmp_path / "p1", TRUNCATED + BUDGET)
    _cards(asked.party.home, [f"4111112222{number:02}" for number in range(ROWS)])
    _prove_scope(asked.party.home)
    try:
        first = asked.exact("SELECT COUNT(*) AS n, SUM(amount) AS total FROM orders")
        sql = "SELECT COUNT(*) AS n, SUM(amount) AS total FROM orders WHERE customer <> '411111222201'"
        assert (asked.exact(sql) == first).all(), "masked, nobody has that number, and nobody is left out"
        job = asked.job(sql.replace("01'", "02'"))
        job.context.masks = {}
        table_of_others = job._own_table()
        job.keep(table_of_others)
        with pytest.raises(RefusedError, match="differ by fewer than 5 rows"):
            job._admit_exact(table_of_others, job.query.suppressed(table_of_others, 5))
    finally:
        asked.party.close()


PAYMENTS = Path(__file__).parents[2] / "examples" / "contracts" / "p2-payments.yaml"


class _Worker:
    """Stands for the process: keeps the view that it would be given."""

    views: list[pa.Table]

    def __init__(self, job: Any, limits: object) -> None:
        with pa.OSFile(f"/proc/self/fd/{job.view}") as file:
            type(self).views.append(pa.ipc.open_file(file).read_all())

    def kill(self) -> None:
        """Nothing runs."""


def _trained(home: Path, text: str, reads: list[str], binds: str = "") -> tuple[Party, str, dict[str, Any]]:
    """A party asked to train the fraud score over three rows by a plan that `reads` columns, and its verdict."""
    authority = TestAuthority("acme.example")
    certified_home(authority, "party", "p1", home)
    (home / "contracts").mkdir()
    (home / "contracts" / "payments.yaml").write_text(text, "utf-8")
    held = load_contract(text, "payments.yaml")
    rows = {name: ["DE"] * 3 if one.type is ColumnType.TEXT else [1, 2, 3] for name, one in held.columns.items()}
    pq.write_table(pa.table({**rows, "amount_cents": [199, 7, 901]}), home / "payments.parquet")
    party = Party.open(authority, home, authority.node("user/rosa"))
    party.admission._lawfulness = Lawfulness(party.node, law_of(str(vietnam(home.parent / "law", binds))))
    spec = train_spec(dataset="payments", recipe={"name": "fraud-score", "version": 1}, key_mode="holder")
    order, token = party.order(spec)
    columns = tuple((need.name, need.use) for need in fraud.columns if need.name in reads)
    info = RecipeInfo("fraud-score", 1, fraud.model_size(fraud.parse({})), columns)
    owners = {name: {"payments": held} for name in ("p1", "p2", "p3")}
    reply = party.admit(order, token, plan=make_plan(order, owners, info, coordinator_country=held.jurisdiction))
    return party, order.jti, payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])


EVERY = [need.name for need in fraud.columns]


@pytest.mark.parametrize(
    ("binds", "seen", "told"),
    [
        ("{mask: {categories: [txn_amount], form: round, size: 100}}", [100, 0, 900], "to multiples of 100, by OBL_VN"),
        ("{drop: {categories: [txn_amount]}}", None, "the law lets no job read this column [V1: OBL_VN"),
        ("{mask: {categories: [txn_amount], form: nothing}}", None, "shows nothing of a column that the recipe needs"),
    ],
)
def test_a_regime_of_a_folder_masks_what_a_training_sees_or_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binds: str, seen: list[int] | None, told: str
) -> None:
    text = PAYMENTS.read_text("utf-8").replace("jurisdiction: DE", "jurisdiction: VN").replace("[DE, GB", "[VN, DE, GB")
    text = text.replace("residence: [DE]", "residence: [VN]\n  facts: {vn_dossier: filed}")
    party, job, verdict = _trained(tmp_path / "p1", text, EVERY, binds)
    assert told in _why(verdict)
    assert (verdict["effect"] == "permit") == (seen is not None)
    if seen is not None:
        monkeypatch.setattr("parties.jobs.WorkerProcess", _Worker)
        _Worker.views = []
        party.jobs._start_worker(party.jobs.get(job).context)
        (view,) = _Worker.views
        assert view["amount_cents"].to_pylist() == seen
        assert view["shop_id"].to_pylist() == [1, 2, 3]
    party.close()


def test_a_plan_that_conceals_what_its_recipe_reads_is_refused(tmp_path: Path) -> None:
    """Neither the contract's policies nor the law would be asked about a column that the plan does not name."""
    reads = [name for name in EVERY if name != "amount_cents"]
    party, _, verdict = _trained(tmp_path / "p1", PAYMENTS.read_text("utf-8"), reads)
    party.close()
    assert verdict["effect"] == "deny"
    assert "recipe fraud-score reads amount_cents, which the plan conceals" in _why(verdict)
