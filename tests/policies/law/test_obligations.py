"""Obligations that bind columns, as tables: what cannot be carried out is not loaded."""

import shutil
from pathlib import Path

import pytest

from compliance.law_files import law_of
from policies.errors import InvalidPolicy
from policies.law.comparing import turned
from policies.law.law import Law, load_law
from policies.law.regime import packaged
from policies.law.scenario import read_cases
from tests.policies.law.vietnam import vietnam

MASK = "{mask: {categories: [email], form: prefix, size: 3}}"


def _law(tmp_path: Path, binds: str, *changes: tuple[str, str]) -> Law:
    """The built-in law with Vietnam on top, whose facts are changed."""
    home = vietnam(tmp_path, binds)
    facts = home / "vietnam" / "facts.yaml"
    text = facts.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    facts.write_text(text, "utf-8")
    return law_of(str(home))


@pytest.mark.parametrize(
    "binds", [MASK, "{mask: {categories: [email, phone], form: nothing}}", "{drop: {categories: [email]}}"]
)
def test_a_folder_brings_an_obligation_that_binds_columns(tmp_path: Path, binds: str) -> None:
    law = _law(tmp_path, binds)
    case = next(one for _, one in read_cases(tmp_path) if one.id == "V-filed")
    decision = law.judge(case.facts)
    (duty,) = (one for one in decision.obligations if one.code == "OBL_VN")
    assert duty.binds is not None
    assert law.bringing(decision, "OBL_VN") == (("V1",), ("Decree 13/2023 Art. 25",))
    (told,) = (one for one in decision.payload()["obligations"] if one["code"] == "OBL_VN")
    assert set(told["binds"]) <= {"mask", "drop"}


@pytest.mark.parametrize(
    ("binds", "told"),
    [
        ("{mask: {categories: [shoe_size], form: nothing}}", "binds columns of `shoe_size`, which is no field"),
        ("{drop: {categories: [shoe_size]}}", "binds columns of `shoe_size`, which is no field"),
        ("{mask: {categories: [email], form: blur}}", "'nothing', 'day', 'month'"),
        ("{mask: {categories: [email], form: prefix}}", "`size` and form prefix do not fit"),
        ("{mask: {categories: [email], form: nothing, size: 2}}", "`size` and form nothing do not fit"),
        ("{mask: {categories: [], form: nothing}}", "at least 1 item"),
        ("{drop: {categories: []}}", "at least 1 item"),
        ("{drop: {categories: [email], form: nothing}}", "form"),
        ("{}", "`binds` has one way"),
        ("{mask: {categories: [email], form: nothing}, drop: {categories: [email]}}", "`binds` has one way"),
        ("{hide: [email]}", "hide"),
    ],
)
def test_a_binding_that_cannot_be_carried_out_is_not_loaded(tmp_path: Path, binds: str, told: str) -> None:
    with pytest.raises(InvalidPolicy, match=told):
        _law(tmp_path, binds)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("when: atomic", "when: pre"), "what `binds` columns is carried out, not proved"),
        (("when: atomic", "when: atomic, proved_by: [tool]"), "what `binds` columns is carried out, not proved"),
        (("OBL_VN:", "OBL_ROPA:"), "obligation `OBL_ROPA` is declared twice"),
        (("OBL_VN:", "OBL_VM:"), "unknown obligation `OBL_VN`"),
    ],
)
def test_an_obligation_is_one_thing_and_there_once(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    with pytest.raises(InvalidPolicy, match=told):
        _law(tmp_path, MASK, change)


@pytest.mark.parametrize(
    ("raises", "told"),
    [
        ("{pan_form: shredded}", "`pan_form` is 'shredded'"),
        ("{personal: false}", "`pan`, masked, makes `personal` true"),
        ("{sad_present: true}", "`masked` says `sad_present`, which the field does not raise"),
    ],
)
def test_a_field_cannot_become_what_no_fact_can_be(tmp_path: Path, raises: str, told: str) -> None:
    shutil.copytree(str(packaged()), tmp_path / "regimes", ignore=shutil.ignore_patterns("__pycache__"))
    common = tmp_path / "regimes" / "common.yaml"
    text = common.read_text("utf-8")
    common.write_text(text.replace("{pan_form: truncated}", raises), "utf-8")
    with pytest.raises(InvalidPolicy, match=told):
        load_law(tmp_path / "regimes")


def test_two_laws_that_differ_in_a_mask_alone_are_told_apart(tmp_path: Path) -> None:
    before = _law(tmp_path / "before", MASK)
    after = _law(tmp_path / "after", MASK.replace("3", "2"))
    cases = [one for _, one in read_cases(tmp_path / "before")]
    (found,) = turned(before, after, cases)
    assert found.scenario.id == "V-filed"
    (line,) = found.lines
    assert line.startswith("binds OBL_VN")
    assert '"size": 2' in line
    assert before.digest != after.digest
