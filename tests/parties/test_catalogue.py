"""The contracts of a party: one per dataset, readable, and true to their tables; otherwise the party does not start."""

from pathlib import Path

import pytest

from inbond.errors import ConfigError
from parties.catalogue import Catalogue
from policies.errors import InvalidInput
from policies.law.law import ClosedLaw
from tests.bad_input.homes import LAW, furnish
from tests.policies.samples import CONTRACT


def test_a_folder_without_contracts_publishes_nothing(tmp_path: Path) -> None:
    assert Catalogue(tmp_path).published() == {}


def test_two_contracts_for_one_dataset_are_refused_and_the_second_is_named(tmp_path: Path) -> None:
    furnish(tmp_path)
    (tmp_path / "contracts" / "second.yml").write_text(CONTRACT)
    with pytest.raises(ConfigError, match=r"second\.yml: dataset orders has two contracts"):
        Catalogue(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00garbage", b"\x80"])
def test_a_contract_that_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    furnish(tmp_path)
    (tmp_path / "contracts" / "orders.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"orders\.yaml: is not text"):
        Catalogue(tmp_path)


def test_a_folder_in_the_place_of_a_contract_is_named(tmp_path: Path) -> None:
    (tmp_path / "contracts" / "x.yaml").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"x\.yaml: cannot be read"):
        Catalogue(tmp_path)


def test_a_contract_with_an_unknown_key_says_line_and_key(tmp_path: Path) -> None:
    furnish(tmp_path, CONTRACT + "minimum_grup: 3\n")
    with pytest.raises(InvalidInput, match=r"orders\.yaml:\d+: .*minimum_grup"):
        Catalogue(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "recipient_kind: merchant}}",
            "recipient_kind: merchant, recipient_comercial: true}}",
            r"orders\.yaml:24: `law\.recipients\.\*\.recipient_comercial`: fact .* did you mean `recipient_commercial`",
        ),
        (
            "recipient_kind: merchant",
            "recipient_kind: grocer",
            r"orders\.yaml:24: .*'grocer' is no value of it; one of",
        ),
        (
            "category: order_ref",
            "category: order_reff",
            r"orders\.yaml:10: `columns\.customer\.category`: category .* did you mean `order_ref`",
        ),
        ("residence: [DE]", "residence: [DE, XX]", r"orders\.yaml:23: `law\.residence\.1`: 'XX' is no value of it"),
    ],
)
def test_a_contract_that_states_what_the_law_does_not_know_is_named_with_line_and_key(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    furnish(tmp_path, CONTRACT.replace(old, new))
    catalogue = Catalogue(tmp_path)
    with pytest.raises(InvalidInput, match=told) as refused:
        catalogue.check(LAW)
    assert "\n" not in str(refused.value)


def test_a_law_that_could_not_be_loaded_knows_nothing_and_refuses_every_job_itself(tmp_path: Path) -> None:
    furnish(tmp_path, CONTRACT.replace("recipient_kind: merchant", "recipient_kind: grocer"))
    Catalogue(tmp_path).check(ClosedLaw("a regime is missing"))
