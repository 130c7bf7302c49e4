"""Which columns the law's obligations bind in a plan, and which plans cannot be carried out so. Without data."""

from collections.abc import Callable
from datetime import date
from functools import cache
from typing import Any

import pytest

from compliance.law_files import law_of
from federation.planner import RecipeInfo, make_plan
from policies.contract import DataContract, Use
from policies.job import JobSpec
from policies.law.binding import bound_columns, unanswerable
from policies.law.judging import Judged, judge, refusals, with_changes
from policies.law.law import Law
from policies.plan import ColumnUse, Plan
from policies.request import Reason
from policies.views import NOTHING, Asker, Cut, Views
from tests.policies.law.vietnam import vietnam
from tests.policies.samples import contract, order, query_spec, train_spec

ASKER = Asker("dpv:FraudPreventionAndDetection", "researcher", "shop")
DAY = date(2026, 6, 1)
COLUMNS: dict[str, Any] = {
    "country": {"type": "text", "class": "public", "uses": ["group"], "domain": ["DE", "FR"]},
    "mail": {
        "type": "text", "class": "personal", "category": "email", "uses": ["filter", "group"], "domain": ["a@b", "c@d"]
    },
    "device": {"type": "int", "class": "personal", "category": "device_id", "uses": ["filter", "aggregate", "feature"]},
    "spent": {"type": "int", "class": "commercial", "category": "txn_amount", "uses": ["aggregate", "feature"]},
    "fraud": {"type": "bool", "class": "operational", "uses": ["label"]},
}  # fmt: skip
TERMS: dict[str, Any] = {
    "organisation": "merchant", "subjects": 100, "residence": ["VN"],
    "facts": {"vn_dossier": "filed", "recipient_kind": "merchant"},
}  # fmt: skip
COUNT = "SELECT country, COUNT(*) AS n FROM orders {} GROUP BY country"
Made = Callable[[str], Law]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The built-in law with a Vietnam that binds columns."""
    return cache(lambda binds: law_of(str(vietnam(tmp_path_factory.mktemp("law"), binds))))


def held(**changes: Any) -> DataContract:
    return contract(**{"jurisdiction": "VN", "columns": COLUMNS, "law": TERMS, **changes})


def plan(spec: JobSpec, mine: DataContract, *columns: tuple[str, Use]) -> Plan:
    recipe = RecipeInfo(name="fraud", version=1, parameter_count=10, columns=columns)
    return make_plan(
        order(spec), {name: {"orders": mine} for name in ("p1", "p2", "p3")}, recipe, coordinator_country="VN"
    )


def found(law: Law, made: Plan, mine: DataContract) -> tuple[Judged, ...]:
    judged = judge(law, made, "p1", mine, (), DAY, {}, ASKER)
    assert any(one.decision.permitted for one in judged), [one.decision for one in judged]
    return judged


def against(law: Law, spec: JobSpec, *columns: tuple[str, Use], path: str = "", **changes: Any) -> list[Reason]:
    mine = held(**changes)
    made = plan(spec, mine, *columns)
    masks = (mine.views or Views()).masks_for(ASKER)
    return list(unanswerable(law, found(law, made, mine), made, mine, masks, lambda _dataset, _column: path))


@pytest.mark.parametrize(
    ("binds", "bound"),
    [
        ("{mask: {categories: [email], form: prefix, size: 2}}", {"mail": Cut(form="prefix", size=2)}),
        ("{mask: {categories: [device_id, email], form: prefix, size: 2}}",
         {"mail": Cut(form="prefix", size=2), "device": NOTHING}),
        ("{mask: {categories: [txn_amount], form: round, size: 5}}", {"spent": Cut(form="round", size=5)}),
        ("{drop: {categories: [email]}}", {"mail": NOTHING}),
        ("{drop: {categories: [health_item]}}", {}),
    ],
)  # fmt: skip
def test_every_column_of_a_bound_field_is_bound_and_shown_as_nothing_where_its_type_has_no_such_form(
    made: Made, binds: str, bound: dict[str, Cut]
) -> None:
    law, mine = made(binds), held()
    columns = bound_columns(found(law, plan(query_spec(sql=COUNT.format("")), mine), mine), mine)
    assert {name: one.cut for name, one in columns.items()} == bound
    assert all(one.by == ("OBL_VN",) for one in columns.values())


def test_a_transfer_without_the_obligation_binds_nothing(made: Made) -> None:
    law = made("{drop: {categories: [email]}}")
    mine = held(law={**TERMS, "facts": {"vn_dossier": "none", "recipient_kind": "merchant"}})
    judged = found(law, plan(query_spec(sql=COUNT.format("")), mine), mine)  # some stay at home, others are refused
    assert bound_columns(judged, mine) == {}


@pytest.mark.parametrize(
    ("binds", "sql", "told"),
    [
        ("{mask: {categories: [email], form: prefix, size: 2}}", COUNT.format("WHERE mail = 'a@b'"), None),
        ("{mask: {categories: [email], form: prefix, size: 2}}",
         "SELECT mail, COUNT(*) AS n FROM orders GROUP BY mail", "a masked column cannot be grouped by"),
        ("{drop: {categories: [email]}}", COUNT.format("WHERE mail = 'a@b'"), "lets no job read this column"),
        ("{drop: {categories: [email]}}", COUNT.format(""), None),
        ("{drop: {categories: [device_id]}}", "SELECT SUM(device) AS n FROM orders", "lets no job read this column"),
    ],
)  # fmt: skip
def test_a_query_that_needs_what_is_bound_is_refused_and_any_other_is_not(
    made: Made, binds: str, sql: str, told: str | None
) -> None:
    reasons = against(made(binds), query_spec(sql=sql), path="`IT`")
    assert len(reasons) == (told is not None)
    for one in reasons:
        assert told is not None
        assert told in one.text
        assert (one.policy_id, one.article) == ("V1: OBL_VN", "Decree 13/2023 Art. 25")
        assert one.remedy.endswith("leave out `IT`")
        assert one.about.startswith("column `")
        assert one.about.endswith(" of `orders`, read by `IT`")


@pytest.mark.parametrize("form", ["form: nothing", "form: prefix, size: 2"])
def test_a_masked_column_is_not_joined_by(made: Made, form: str) -> None:
    law, mine = made(f"{{mask: {{categories: [email], {form}}}}}"), held()
    planned = plan(query_spec(sql=COUNT.format("WHERE mail = 'a@b'")), mine)
    joined = planned.model_copy(
        update={"columns": (*planned.columns, ColumnUse(dataset="orders", column="mail", use=Use.JOIN))}
    )
    (reason,) = unanswerable(law, found(law, joined, mine), joined, mine, {}, lambda _dataset, _column: "")
    assert "a masked column cannot be joined by" in reason.text
    assert reason.remedy == "join by another key, or leave out `mail`"
    assert reason.about == "column `mail` of `orders`"


def test_what_the_contract_shows_as_nothing_is_not_read(made: Made) -> None:
    views = {"masks": [{"column": "device", "form": "nothing"}]}
    law, spec = made("{drop: {categories: [device_id]}}"), query_spec(sql="SELECT SUM(device) AS n FROM orders")
    assert against(law, spec)
    assert against(law, spec, views=views) == []
    for_others = {"masks": [{"column": "device", "form": "nothing", "organisations": ["bank"]}]}
    assert against(law, spec, views=for_others)


@pytest.mark.parametrize(
    ("binds", "told"),
    [
        ("{drop: {categories: [txn_amount]}}", "lets no job read this column"),
        ("{mask: {categories: [txn_amount], form: nothing}}", "shows nothing of a column that the recipe needs"),
        ("{mask: {categories: [txn_amount], form: prefix, size: 2}}", "shows nothing of a column that the recipe"),
        ("{mask: {categories: [txn_amount], form: round, size: 10}}", None),
        ("{drop: {categories: [device_id]}}", None),
    ],
)
def test_a_training_whose_recipe_needs_what_is_not_shown_is_refused(made: Made, binds: str, told: str | None) -> None:
    columns = (("spent", Use.FEATURE), ("fraud", Use.LABEL))
    reasons = against(made(binds), train_spec(), *columns)
    assert len(reasons) == (told is not None)
    for one in reasons:
        assert told is not None
        assert told in one.text
        assert one.remedy == "train with a recipe that does not read it"


def test_a_refused_query_is_told_which_columns_to_leave_out_and_a_training_is_not(made: Made) -> None:
    columns = {
        **COLUMNS,
        "ill": {"type": "bool", "class": "sensitive", "category": "health_item", "uses": ["filter", "feature"]},
        "well": {"type": "bool", "class": "sensitive", "category": "biometric", "uses": ["filter"]},
    }
    terms = {**TERMS, "residence": ["DE"]}
    mine = contract(jurisdiction="DE", columns=columns, law=terms)
    law = made("")

    def ways(spec: JobSpec, *used: tuple[str, Use]) -> str:
        judged = with_changes(law, judge(law, plan(spec, mine, *used), "p1", mine, (), DAY, {}, ASKER))
        return " ".join(one.remedy for one in refusals(judged))

    one, two = (query_spec(sql=COUNT.format(f"WHERE {which}")) for which in ("ill", "ill AND well"))
    assert "with leaving out `ill` the object is PERSONAL: permitted under G4" in ways(one)
    assert "with leaving out `ill`, `well` the object is PERSONAL: permitted under G4" in ways(two)
    assert "leaving out `ill` " not in ways(two), "one of two is no help"
    assert "leaving out" not in ways(train_spec(), ("ill", Use.FEATURE))
