"""What people say is kept by pseudonym, the latest statement counts, and nothing in the file names anybody."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compliance.errors import InvalidLawEntry, LawStoreUnavailable
from compliance.subjects import FILE, Act, Seal, SubjectRegistry
from tests.compliance.subject_fixtures import ADS, FRAUD, SEAL, Told, flip, opened


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def registry(tmp_path: Path, told: list[Any]) -> Iterator[SubjectRegistry]:
    with opened(SubjectRegistry, tmp_path, told) as one:
        yield one


def test_a_withdrawal_holds_for_its_purpose_until_consent_is_given_again(registry: SubjectRegistry) -> None:
    registry.say(Act.WITHDRAW, ["ann", "bob"], ADS)
    assert sorted(registry.withheld(ADS)) == ["ann", "bob"]
    assert registry.withheld(FRAUD) == []
    registry.say(Act.CONSENT, ["ann"], ADS)
    assert registry.withheld(ADS) == ["bob"]
    registry.say(Act.CONSENT, ["bob"])
    assert registry.withheld(ADS) == [], "consent to every purpose came later"


@pytest.mark.parametrize("first", [Act.WITHDRAW, Act.OBJECT])
def test_a_statement_on_every_purpose_holds_for_each(registry: SubjectRegistry, first: Act) -> None:
    registry.say(first, ["ann"])
    assert registry.withheld(ADS) == registry.withheld(FRAUD) == ["ann"]
    registry.say(Act.CONSENT if first is Act.WITHDRAW else Act.LIFT, ["ann"], ADS)
    assert registry.withheld(ADS) == []
    assert registry.withheld(FRAUD) == ["ann"]


def test_consent_ends_no_objection_and_a_lift_no_withdrawal(registry: SubjectRegistry) -> None:
    registry.say(Act.OBJECT, ["ann"], ADS)
    registry.say(Act.CONSENT, ["ann"], ADS)
    assert registry.withheld(ADS) == ["ann"]
    registry.say(Act.WITHDRAW, ["ann"], ADS)
    registry.say(Act.LIFT, ["ann"], ADS)
    assert registry.withheld(ADS) == ["ann"]


def test_an_erasure_is_for_every_purpose_and_no_lift_of_one_purpose_ends_it(registry: SubjectRegistry) -> None:
    with pytest.raises(InvalidLawEntry, match="erasure is for every purpose"):
        registry.say(Act.ERASE, ["ann"], ADS)
    registry.say(Act.ERASE, ["ann"])
    registry.say(Act.LIFT, ["ann"], ADS)
    registry.say(Act.CONSENT, ["ann"])
    assert registry.withheld(ADS) == ["ann"]
    registry.say(Act.LIFT, ["ann"])
    assert registry.withheld(ADS) == []


def test_only_who_consents_and_is_not_kept_out_otherwise_consents(registry: SubjectRegistry) -> None:
    registry.say(Act.CONSENT, ["ann", "bob", "cem", "dora"], ADS)
    registry.say(Act.WITHDRAW, ["bob"], ADS)
    registry.say(Act.OBJECT, ["cem"], ADS)
    registry.say(Act.ERASE, ["dora"])
    assert registry.consenting(ADS) == ["ann"]
    assert registry.consenting(FRAUD) == []


def test_how_it_stood_before_can_be_asked(registry: SubjectRegistry) -> None:
    before = registry.revision()
    registry.say(Act.ERASE, ["ann"])
    after = registry.revision()
    assert after > before
    assert not registry.keeps_out("ann", ADS, before)
    assert registry.keeps_out("ann", ADS, after)


def test_to_say_the_last_thing_again_is_no_change(registry: SubjectRegistry, told: list[Any]) -> None:
    assert registry.say(Act.WITHDRAW, ["ann"], ADS) == 1
    assert registry.say(Act.WITHDRAW, ["ann", "ann"], ADS) == 0
    assert registry.say(Act.WITHDRAW, ["ann"], FRAUD) == 1
    assert [one.purpose for one in registry.of("ann")] == [ADS, FRAUD]
    assert len(told) == 2


def test_neither_file_nor_log_names_anybody(registry: SubjectRegistry, told: list[Any], tmp_path: Path) -> None:
    registry.say(Act.WITHDRAW, ["ann.smith@example.org"], ADS)
    registry.close()
    blob = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"ann" not in blob
    assert "ann" not in str(told)
    assert told[0][1] == {"event": "subject: withdraw", "purpose": ADS}


def test_what_the_log_does_not_take_is_not_kept(tmp_path: Path) -> None:
    def full(_subject: str, _data: Any) -> None:
        raise LawStoreUnavailable("the disk is full")

    with SubjectRegistry.open_with(tmp_path / FILE, full, SEAL) as registry:
        with pytest.raises(LawStoreUnavailable):
            registry.say(Act.ERASE, ["ann", "bob"])
        assert registry.withheld(ADS) == []


def test_another_nodes_file_is_not_used(registry: SubjectRegistry, tmp_path: Path) -> None:
    other = Seal(os.urandom(32), flip, flip)
    with pytest.raises(LawStoreUnavailable, match="not this node's"):
        SubjectRegistry.look(tmp_path / FILE, other)
    with pytest.raises(LawStoreUnavailable, match="not this node's"):
        SubjectRegistry.open_with(tmp_path / FILE, lambda *_: None, other)


@pytest.mark.parametrize("bad", ["", "x" * 257, "a\nb"])
def test_what_is_no_id_is_refused_and_nobody_is_kept(registry: SubjectRegistry, bad: str) -> None:
    with pytest.raises(InvalidLawEntry, match="no id of a person"):
        registry.say(Act.ERASE, ["ann", bad])
    assert registry.withheld(ADS) == []


@pytest.mark.parametrize("bad", ["marketing", "dpv:marketing", "dpv:Marketing ", "Marketing"])
def test_a_misspelt_purpose_is_refused_for_it_would_be_honoured_nowhere(registry: SubjectRegistry, bad: str) -> None:
    with pytest.raises(InvalidLawEntry, match="is no purpose"):
        registry.say(Act.WITHDRAW, ["ann"], bad)
    assert registry.of("ann") == []
