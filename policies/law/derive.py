"""Facts that need arithmetic, as pure functions: class of the released object, effective measure, tools, bands.

Cedar joins facts and computes nothing; these functions are its only arithmetic. Each takes plain values and a day.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from policies.law.catalogue import Sheet
from policies.law.tables import AdequacyRow, Constants, PlaceRow, RegimeTables, Threshold, ToolRow, members

NONPERSONAL, ANON, PERSONAL = "NONPERSONAL", "ANON", "PERSONAL"
CLASSES = (NONPERSONAL, ANON, PERSONAL)
NO_MEASURE, KEY_CUSTODY, NO_COLLUSION = "none", "key-custody", "no-collusion"
MEASURES = (NO_MEASURE, KEY_CUSTODY, NO_COLLUSION)
NOT_ADEQUATE = "none"
GRADES = (NOT_ADEQUATE, "general", "certified")
MIN_JURISDICTIONS = 2  # EDPB Recommendations 01/2020, use case 5: split processing over jurisdictions


@dataclass(frozen=True)
class Released:
    """What is known of the object that becomes readable. `top2_share` and losses are as in the sheet."""

    kind: str
    personal: bool = True
    sensitive: bool = False
    subjects: int = 0
    anon_test: str = "none"
    min_cell_k: int = 0
    top2_share: float = 0.0
    epsilon: float | None = None
    delta: float = 0.0
    secure_aggregation: bool = False
    clients: int = 0


def released(sheet: Sheet, sensitive: tuple[str, ...]) -> Released:
    """The released object of a transfer; `sensitive` names the flags that make its data sensitive."""
    loss = dict(sheet["dp"] or ())
    return Released(
        kind=sheet["output_kind"],
        personal=sheet["personal"],
        sensitive=any(sheet[name] for name in sensitive),
        subjects=sheet["n_subjects"],
        anon_test=sheet["anon_test"],
        min_cell_k=sheet["min_cell_k"],
        top2_share=sheet["top2_share"],
        epsilon=loss.get("epsilon"),
        delta=loss.get("delta", 0.0),
        secure_aggregation=sheet["secure_aggregation"],
        clients=sheet["n_clients"],
    )


def classify(what: Released, constants: Constants) -> str:
    """NONPERSONAL, ANON or PERSONAL; ANON only on evidence (EDPB Opinion 28/2024), everything else is PERSONAL."""
    if not what.personal:
        return NONPERSONAL
    anonymous = {"aggregate": _anonymous_table, "model_update": _anonymous_update}.get(what.kind)
    passed = what.anon_test == "pass" and anonymous is not None and anonymous(what, constants)
    return ANON if passed else PERSONAL


def needed_k(what: Released, constants: Constants) -> int:
    """The smallest group that may be shown: larger for special or sensitive data."""
    return constants.k_min_sens if what.sensitive else constants.k_min


def _anonymous_table(what: Released, constants: Constants) -> bool:
    noised = what.epsilon is None or what.epsilon <= constants.eps_agg_max
    return what.min_cell_k >= needed_k(what, constants) and what.top2_share <= constants.top2_max and noised


def _anonymous_update(what: Released, constants: Constants) -> bool:
    summed = what.secure_aggregation and what.clients >= constants.min_clients
    private = what.epsilon is not None and what.epsilon <= constants.eps_model_max
    return summed and private and what.delta <= constants.delta_max and what.delta * what.subjects < 1


def measure(sheet: Sheet, *, area: frozenset[str], safe: frozenset[str]) -> str:
    """The technical measure that holds even where the destination's law defeats a contract, or `none`.

    `area` are the regime's own places, `safe` those where a key is out of the destination's reach (EDPB
    Recommendations 01/2020, use cases 1, 2 and 5). Raw rows, updates and tables have no such measure.
    """
    holder, kind = sheet["key_holder"], sheet["output_kind"]
    if kind == "ciphertext":
        kept = not sheet["recipient_can_decrypt"] and holder in safe and holder != sheet["dst"]
        return KEY_CUSTODY if kept else NO_MEASURE
    if kind == "secret_shares":
        split = len(set(sheet["share_jurisdictions"])) >= MIN_JURISDICTIONS
        return NO_COLLUSION if sheet["non_collusion"] and split else NO_MEASURE
    if kind == "pseudonymous_ids":
        kept = holder in area and sheet["reid_risk"] == "low" and holder != sheet["dst"]
        return KEY_CUSTODY if kept else NO_MEASURE
    return NO_MEASURE


@dataclass(frozen=True)
class InForce:
    """What one regime's tables say on a day: `lists` are its own, `keys` where a key is out of other places' reach."""

    tools: tuple[ToolRow, ...]
    adequate: tuple[tuple[AdequacyRow, frozenset[str]], ...]
    thresholds: tuple[Threshold, ...]
    lists: Mapping[str, frozenset[str]]
    keys: frozenset[str]


def in_force(tables: RegimeTables, day: date, common: dict[str, tuple[PlaceRow, ...]]) -> InForce:
    """The rows of a regime that hold on `day`; rows may refer to the `common` lists."""
    adequate = tuple((row, members((row,), day, common)) for row in tables.adequacy if row.holds(day))
    return InForce(
        tools=tuple(row for row in tables.tools if row.holds(day)),
        adequate=adequate,
        thresholds=tuple(row for row in tables.thresholds if row.holds(day)),
        lists={name: members(rows, day, common) for name, rows in tables.lists.items()},
        keys=frozenset(place for row, places in adequate if row.keys for place in places),
    )


def adequacy(rows: tuple[tuple[AdequacyRow, frozenset[str]], ...], sheet: Sheet, day: date) -> str:
    """The best grade of adequacy of the destination by `rows` in force on `day`: none, certified or general."""
    rows_there = (row for row, places in rows if sheet["dst"] in places)
    grades = {row.grade for row in rows_there if all(_in_scope(sheet, *scope, day) for scope in row.scope.items())}
    return next((grade for grade in ("general", "certified") if grade in grades), NOT_ADEQUATE)


def _in_scope(sheet: Sheet, fact: str, value: object, day: date) -> bool:
    return sheet.has(fact, (value,)) and in_time(sheet, str(value), day)


MECHANISM, FURTHER = "mechanism", "further_mechanisms"


def tools(rows: tuple[ToolRow, ...], sheet: Sheet, day: date, lists: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The kinds of tools and grounds that the transfer has by `rows` in force on `day`; an expired one is absent."""
    return tuple(sorted({row.kind for row in rows if _tool_held(row, sheet, day, lists)}))


def _tool_held(row: ToolRow, sheet: Sheet, day: date, lists: Mapping[str, frozenset[str]]) -> bool:
    if row.to and not any(sheet["dst"] in lists[name] for name in row.to):
        return False
    for fact, wanted in row.when.items():
        value = sheet[fact]
        held = value if isinstance(value, tuple) else (value,)
        if fact == MECHANISM:
            held += sheet[FURTHER]
        if not any(one in wanted and in_time(sheet, str(one), day, row.years) for one in held):
            return False
    return True


def in_time(sheet: Sheet, tool: str, day: date, years: int | None = None) -> bool:
    """Whether the transfer's own `tool` (mechanism, certificate) is in its time on `day`; undated ones are."""
    since, until = dict(sheet["tool_since"]).get(tool), dict(sheet["tool_until"]).get(tool)
    if since is not None and (day < since or (years is not None and day >= anniversary(since, years))):
        return False
    return until is None or day <= until


def anniversary(day: date, years: int) -> date:
    """The day `years` later; 29 February becomes 28 February where the year has none."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return day.replace(year=day.year + years, day=28)


def reached(rows: tuple[Threshold, ...], sheet: Sheet) -> tuple[str, ...]:
    """The names of the bands that the transfer's counts reach by `rows` in force."""
    found = {row.name for row in rows if row.reached(sheet.number(row.fact, row.key))}
    return tuple(sorted(found))


def safe_delta(subjects: int, constants: Constants) -> float:
    """The largest power of ten that is within the project's bound and below 1/n for `subjects` people."""
    below = 10.0 ** -(math.floor(math.log10(max(subjects, 1))) + 1)
    return min(constants.delta_max, below)
