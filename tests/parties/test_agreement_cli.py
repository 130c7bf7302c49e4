"""`inbond agreement`: two parties propose, sign, take up and revoke with files; each keeps its own."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.agreements import FILE, AgreementStore
from compliance.errors import NotAgreed
from inbond.cli import EXIT_INPUT, exit_code
from inbond.node import Node
from parties.agreement_cli import app
from parties.telling import telling
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.parties.test_record_cli import events
from tests.policies.test_agreement import TERMS
from tests.policies.test_agreement_rules import SHARE
from tests.support.authority import TestAuthority

TODAY = datetime.now(UTC).date()
LASTING = TERMS.replace("2026-06-01", str(TODAY)).replace("2026-12-31", str(TODAY + timedelta(days=9)))


@dataclass
class World:
    """Two parties and the folder in which they leave files for each other."""

    folder: Path
    m1: Path
    p1: Path

    def file(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def world(tmp_path: Path) -> World:
    authority = TestAuthority(CONSORTIUM)
    homes = [certified_home(authority, "party", name, tmp_path / name) for name in ("m1", "p1")]
    (tmp_path / "terms.yaml").write_text(LASTING)
    return World(tmp_path, *homes)


def run(home: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--home", str(home)])


def answer(home: Path, *arguments: object) -> Any:
    found = run(home, *arguments, "--json")
    assert found.exit_code == 0, (found.output, found.exception)
    return json.loads(found.stdout)


def refused(found: Result, what: str) -> None:
    assert isinstance(found.exception, Exception), found.output
    assert exit_code(found.exception) == EXIT_INPUT
    assert what in str(found.exception)
    assert "\n" not in str(found.exception)


def agreed(world: World) -> str:
    """Both sides sign and know it; the agreement's id."""
    name: str = answer(world.m1, "propose", world.file("terms.yaml"), "--out", world.file("a.json"))["agreement"]
    answer(world.p1, "sign", world.file("a.json"), "--out", world.file("b.json"))
    answer(world.m1, "receive", world.file("b.json"))
    return name


def test_both_sides_sign_and_each_keeps_it(world: World) -> None:
    assert answer(world.m1, "list") == []
    proposed = answer(world.m1, "propose", world.file("terms.yaml"), "--out", world.file("a.json"))
    assert (proposed["state"], proposed["signed"], proposed["unsigned"]) == ("proposed", ["m1"], ["p1"])
    assert answer(world.p1, "show", world.file("a.json"))["uses"] == 3
    signed = answer(world.p1, "sign", world.file("a.json"), "--out", world.file("b.json"))
    assert (signed["state"], signed["signed"]) == ("holds", ["m1", "p1"])
    assert answer(world.m1, "show", proposed["agreement"][:6])["state"] == "proposed"
    assert answer(world.m1, "receive", world.file("b.json"))["state"] == "holds"
    assert [row["state"] for row in answer(world.m1, "list")] == ["holds"]
    assert events(world.p1) == ["agreement kept", "agreement signed", "agreement signed"]


def test_one_side_revokes_at_once_and_the_other_when_it_hears(world: World) -> None:
    name = agreed(world)
    assert answer(world.p1, "revoke", name[:8], "--out", world.file("end.json"))["revoked_by"] == ["p1"]
    assert answer(world.m1, "list")[0]["state"] == "holds"
    assert answer(world.m1, "receive", world.file("end.json"))["state"] == "revoked"
    assert events(world.m1)[-1] == "agreement revoked"


def test_what_was_agreed_is_used_under_the_trust_of_the_node(world: World) -> None:
    agreed(world)
    node = Node.open(world.p1)
    with AgreementStore.open(world.p1 / FILE, telling(node)) as store:
        assert store.use("job-1", [SHARE], node.trust).left == 2
        with pytest.raises(NotAgreed):
            store.use("job-2", [SHARE, SHARE.__class__(**(vars(SHARE) | {"country": "US"}))], node.trust)
        store.commit("job-1")
    node.close()
    (row,) = answer(world.p1, "list")
    assert (row["used"], [(one["job"], one["state"]) for one in row["jobs"]]) == (1, [("job-1", "committed")])
    assert answer(world.p1, "show", row["agreement"])["jobs"] == row["jobs"]
    assert answer(world.m1, "list")[0]["jobs"] == [], "each side counts for itself"


def test_a_person_reads_which_jobs_used_an_agreement_the_newest_first(world: World) -> None:
    name = agreed(world)
    node = Node.open(world.p1)
    jobs = [f"{number:032x}" for number in range(3)]
    with AgreementStore.open(world.p1 / FILE, telling(node)) as store:
        for job in jobs:
            store.use(job, [SHARE], node.trust)
        store.rollback(jobs[2])
    node.close()
    for words in (["list"], ["show", name]):
        shown = run(world.p1, *words).output
        assert max(map(len, shown.splitlines())) <= 80
        assert [shown.index(job) for job in jobs] == sorted((shown.index(job) for job in jobs), reverse=True)
        assert (shown.count("open"), shown.count("rolled_back")) == (2, 1)


def test_terms_that_were_altered_on_the_way_are_not_signed(world: World) -> None:
    answer(world.m1, "propose", world.file("terms.yaml"), "--out", world.file("a.json"))
    sent = json.loads(world.file("a.json").read_text())
    sent["agreement"]["uses"] = 1000
    world.file("a.json").write_text(json.dumps(sent))
    found = run(world.p1, "sign", world.file("a.json"), "--out", world.file("b.json"))
    refused(found, "signed for other terms")
    assert not world.file("b.json").exists()
    assert answer(world.p1, "list") == []


def test_wrong_input_is_one_line_and_exit_2(world: World) -> None:
    refused(run(world.m1, "propose", world.file("none.yaml"), "--out", world.file("a.json")), "cannot be read")
    world.file("others.yaml").write_text(LASTING.replace("m1", "m2"))
    refused(run(world.m1, "propose", world.file("others.yaml"), "--out", world.file("a.json")), "is no party")
    refused(run(world.m1, "propose", world.file("terms.yaml"), "--out", world.file("terms.yaml")), "another name")
    refused(run(world.m1, "sign", world.file("terms.yaml"), "--out", world.file("a.json")), "terms.yaml")
    refused(run(world.m1, "revoke", "abc", "--out", world.file("a.json")), "inbond agreement list")
    refused(run(world.p1, "show", "abc"), "no such file")
    assert not world.file("a.json").exists()


def test_what_is_shown_fits_80_columns(world: World) -> None:
    name = agreed(world)
    for words in (["list"], ["show", name], ["show", world.file("b.json")]):
        shown = run(world.m1, *words).output
        assert max(map(len, shown.splitlines())) <= 80
        assert "fraud-2026" in shown
