"""What is wrong or unwise in a data contract, said before it is published: `inbond contract lint`.

Learns the contract, the law and the day, no data. Errors are what no job could use: keys that the law does not know, a
contract that has ended. Warnings are what an owner may want and should know.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

from policies.contract import ABOUT_PEOPLE, Column, JoinLeak, PublishedContract, Use
from policies.contract_facts import unknown_to_law
from policies.document import Path
from policies.law.columns import column_facts
from policies.law.law import Law
from policies.law_terms import LawTerms
from policies.views import Asker, Views

SOON = timedelta(days=30)
PROVABLE = {"pipia_done": True, "tia": "ok"}  # the assessments that a record may prove (`policies.evidence`)
RELEASE = "aggregate"  # what a query releases: the least that a purpose is good for


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: `path` is the key in the file, `right` what would mend it."""

    level: Literal["error", "warning"]
    path: Path
    what: str
    right: str

    @property
    def key(self) -> str:
        """The path as people write it."""
        return ".".join(map(str, self.path))


def findings(contract: PublishedContract, law: Law, now: datetime) -> tuple[Finding, ...]:
    """Everything to be said of the contract at `now` (aware); errors first."""
    faults = unknown_to_law(contract, law.catalogue)
    errors = [Finding("error", one.path, one.what, one.right) for one in faults]
    found = [*errors, *_ending(contract, now), *_people(contract, law), *_joins(contract), *_audit(contract)]
    found += _noise(contract)
    if not faults:  # or the law could not be asked
        found += _law(contract, law, now)
    return tuple(sorted(found, key=lambda one: one.level))


def _warning(path: Path, what: str, right: str) -> Finding:
    return Finding("warning", path, what, right)


def _ending(contract: PublishedContract, now: datetime) -> Iterator[Finding]:
    day, right = f"{contract.expires:%Y-%m-%d}", "a later day, and a higher `version`"
    if contract.expired(now):
        yield Finding("error", ("expires",), f"the contract ended on {day}", right)
    elif contract.expires - now <= SOON:
        yield _warning(("expires",), f"the contract ends on {day}, within {SOON.days} days", right)


def _people(contract: PublishedContract, law: Law) -> Iterator[Finding]:
    """Groups by what is about people need to be large: the project's k for sensitive data."""
    needed = law.common.constants.k_min_sens
    for name, column in _about_people(contract).items():
        if Use.GROUP in column.uses and contract.minimum_group < needed:
            what = f"people are grouped by `{name}` in groups of {contract.minimum_group}"
            yield _warning(("columns", name, "uses"), what, f"minimum_group: {needed}, or no use `group`")
    if contract.allow_plain and _about_people(contract):
        what = "the coordinator may read this table's contributions one by one, and some are about people"
        yield _warning(("allow_plain",), what, "allow_plain: false")


def _about_people(contract: PublishedContract) -> dict[str, Column]:
    return {name: column for name, column in contract.columns.items() if column.data_class in ABOUT_PEOPLE}


def _joins(contract: PublishedContract) -> Iterator[Finding]:
    for name, column in contract.columns.items():
        for pattern, leaks in column.key.counterparts.items() if column.key else ():
            if JoinLeak.INTERSECTION_MEMBERS in leaks and not pattern.strip("*"):
                path = ("columns", name, "key", "counterparts", pattern)
                what = f"every party that joins may learn which keys of `{name}` both have"
                yield _warning(path, what, "name the parties that may, such as 'p*'")


def _audit(contract: PublishedContract) -> Iterator[Finding]:
    if contract.audit is not None and any(not pattern.strip("*") for pattern in contract.audit.values_to):
        what = f"every auditor of {contract.jurisdiction} may see values that this table sends into joins"
        yield _warning(("audit", "values_to"), what, "name the auditors")


def _noise(contract: PublishedContract) -> Iterator[Finding]:
    budget, asked = contract.budget, contract.noise.epsilon
    if budget is not None and asked is not None and asked > budget.epsilon:
        what = f"noise of epsilon {asked:g} is allowed, and the budget of {budget.epsilon:g} covers no such answer"
        yield _warning(("noise", "epsilon"), what, f"an epsilon of at most {budget.epsilon:g}")


def _law(contract: PublishedContract, law: Law, now: datetime) -> Iterator[Finding]:
    terms = contract.law
    if terms is None:
        yield _warning(("law",), "the law has nothing to judge by: the table takes part in nothing", "add `law`")
        return
    for purpose in terms.purposes:
        if purpose not in contract.purposes:
            what = f"facts are stated for {purpose}, which is none of the contract's purposes"
            yield _warning(("law", "purposes", purpose), what, "one of `purposes`, or leave it out")
    for purpose in sorted(contract.purposes):
        why = _refused_at_home(contract, terms, law, purpose, now)
        if why:
            what = f"no basis covers {purpose}: even at home, with every record, no aggregate is lawful ({why})"
            yield _warning(("purposes",), what, "state a basis under `law`, or leave the purpose out")


def _refused_at_home(contract: PublishedContract, terms: LawTerms, law: Law, purpose: str, now: datetime) -> str:
    """Why an aggregate for a reader in the table's own country is refused; empty where some reader may have it.

    Records are the party's to bring and are taken for granted: what is refused at home with them is refused everywhere.
    """
    causes: list[str] = []
    for name in _readers(terms):
        stated = {**terms.stated(purpose, name), **_provable(law)}
        decision = law.judge(
            {**stated, **_columns(contract, law, purpose, stated), **_at_home(contract, terms, purpose, now)}
        )
        if decision.permitted:
            return ""
        causes += decision.causes or [f"{one.text} [{one.policy_id}]" for one in decision.reasons]
    return "; ".join(dict.fromkeys(causes))


def _readers(terms: LawTerms) -> tuple[str, ...]:
    """A name for every pattern of recipients, and one that only `*` matches."""
    names = (pattern.replace("*", "x").replace("?", "x") for pattern in terms.recipients)
    matched = [name for name in names if any(fnmatchcase(name, pattern) for pattern in terms.recipients)]
    return tuple(dict.fromkeys((*matched, "anybody")))


def _provable(law: Law) -> dict[str, Any]:
    return {name: value for name, value in PROVABLE.items() if name in law.catalogue.rules}


def _columns(contract: PublishedContract, law: Law, purpose: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the columns that have a use, as the masks that are for everybody show them."""
    used = {name: column for name, column in contract.columns.items() if column.uses}
    masks = (contract.views or Views()).masks_for(Asker(purpose))
    categories, facts = column_facts(used, masks, stated, law.catalogue)
    personal = contract.law is not None and contract.law.personal
    return {**facts, "categories": categories if personal else ()}


def _at_home(contract: PublishedContract, terms: LawTerms, purpose: str, now: datetime) -> dict[str, Any]:
    """The facts of the simplest release, but for those of its columns, as `policies.law.transfers` finds them."""
    return {
        "src": contract.jurisdiction,
        "dst": contract.jurisdiction,
        "as_of": now.date(),
        "exporter_kind": terms.organisation,
        "purpose": purpose,
        "n_subjects": terms.subjects,
        "subject_residency": terms.residence,
        "personal": terms.personal,
        "output_kind": RELEASE,
        "min_cell_k": contract.minimum_group,
    }
