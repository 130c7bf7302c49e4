"""One transfer as the counters see it: whose people, under which headings, told apart by keyed hash.

Who learns what: the file of the counters holds a hash of each person under a key of the node (HMAC-SHA256, RFC 2104,
cut to 128 bits), which tells nothing to whoever has the file without the key. Headings follow from the facts that the
law was told; nobody chooses them.

China counts per exporter and calendar year (CAC Decree 16, arts. 7 and 8), flows that are exempt (arts. 4 to 6) apart.
A flow with anything sensitive in it counts under `sensitive` alone. Under each heading a person counts once a year:
whoever was counted as ordinary stays counted when sensitive data of the same person follow, so that no counter ever
falls by sending more. The United States count per kind of data over twelve months (28 CFR 202.205), in any format, even
anonymised or encrypted (202.206); here over all foreign recipients together, which is never less than each alone.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from compliance.errors import InvalidLawEntry
from policies.law.counters import year_of
from policies.law.derive import PERSONAL, anniversary

CN, US = "cn", "us"
ORDINARY, SENSITIVE, EXEMPT = "cn:ordinary", "cn:sensitive", "cn:exempt"
US_KINDS = ("covered_ids", "financial", "health", "geo", "biometric", "omic", "genomic")  # 28 CFR 202.205
HEADINGS = (ORDINARY, SENSITIVE, EXEMPT, *(f"{US}:{kind}" for kind in US_KINDS))
KEY_BYTES = 32
PERSON_BYTES = 16  # 128 bits: ten billion people collide with a chance of 10^-19
MOST_UNNAMED = 10**12  # as the law's counts
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,255}")


@dataclass(frozen=True)
class Flow:
    """What is about to leave: `key` names this release, `exporter` whose it is.

    `people` are normalised ids of the persons in it (any order, repeated or not), or only how many there are at most
    where nobody can tell them apart: these are added up in full. `headings` are some of `HEADINGS`.
    """

    key: str
    job: str
    exporter: str
    headings: frozenset[str]
    people: Sequence[bytes] | int

    def checked(self) -> "Flow":
        """This flow; raises InvalidLawEntry where it is malformed."""
        for name in ("key", "job", "exporter"):
            if not _NAME.fullmatch(getattr(self, name)):
                raise _invalid(f"the {name} is malformed", "1 to 256 letters, digits and . _ : / + = -")
        if not self.headings or not self.headings <= set(HEADINGS):
            raise _invalid("the flow has no heading or an unknown one", f"some of {', '.join(HEADINGS)}")
        number = self.people if isinstance(self.people, int) else len(self.people)
        if isinstance(self.people, bool) or not 0 <= number <= MOST_UNNAMED:
            raise _invalid("the number of people is out of range", f"0 to {MOST_UNNAMED}")
        return self

    @property
    def unnamed(self) -> int:
        """How many people nobody can tell apart."""
        return self.people if isinstance(self.people, int) else 0

    def persons(self, key: bytes) -> list[bytes]:
        """The keyed hash of each person, once each and in order."""
        if isinstance(self.people, int):
            return []
        keyed = hmac.new(key, len(self.exporter).to_bytes(2, "big") + self.exporter.encode(), hashlib.sha256)
        return sorted({_hash(keyed, person) for person in self.people})

    def digest(self, persons: Sequence[bytes]) -> bytes:
        """What tells this flow from any other under the same key."""
        said = "\n".join((self.job, self.exporter, *sorted(self.headings), str(self.unnamed), ""))
        return hashlib.sha256(said.encode() + b"".join(persons)).digest()


def _hash(keyed: "hmac.HMAC", person: bytes) -> bytes:
    one = keyed.copy()
    one.update(person)
    return one.digest()[:PERSON_BYTES]


def key_check(key: bytes) -> bytes:
    """What tells the right key from any other, and nothing of it. Raises InvalidLawEntry for a malformed one."""
    if len(key) != KEY_BYTES:
        raise _invalid("the key of the counters has another length", f"{KEY_BYTES} bytes")
    return hmac.new(key, b"counters of people", hashlib.sha256).digest()


def headings_of(
    facts: Mapping[str, Any], object_class: str, *, exempt: bool = False, kinds: Iterable[str] | None = None
) -> frozenset[str]:
    """Under which headings a transfer counts, empty where none counts it.

    `facts` are complete (`law.catalogue.sheet`); `object_class` is the law's. `exempt` says that the law found an
    exemption (rule C7), a label alone is none. `kinds` are those of 28 CFR 202.205 that the columns may hold; None
    where a column of unknown kind may be any.
    """
    if not facts["personal"]:
        return frozenset()
    found: set[str] = set()
    if _leaves("CN", facts) and object_class == PERSONAL:
        found.add(EXEMPT if exempt else SENSITIVE if facts["cn_sensitive_present"] else ORDINARY)
    if _leaves("US", facts):
        found.update(f"{US}:{kind}" for kind in (US_KINDS if kinds is None else kinds))
    return frozenset(found)


def _leaves(place: str, facts: Mapping[str, Any]) -> bool:
    """Whether data of this place, or of people there, become readable elsewhere. Hong Kong and Macau are elsewhere."""
    return facts["dst"] != place and (facts["src"] == place or place in facts["subject_residency"])


def period_of(heading: str, at: datetime) -> int:
    """The account of a heading that is written at a time: a year in Beijing, or 0 for the one that slides."""
    return year_of(at) if heading.startswith(f"{CN}:") else 0


def since_of(heading: str, today: date) -> int:
    """The day (ordinal) after which people count under a heading; -1 where the whole account does."""
    return -1 if heading.startswith(f"{CN}:") else anniversary(today, -1).toordinal()


def facts_of_counts(counts: Mapping[str, int]) -> dict[str, Any]:
    """People by heading as facts of the law's vocabulary."""
    bulk = {kind: counts[f"{US}:{kind}"] for kind in US_KINDS if counts.get(f"{US}:{kind}")}
    return {"cn_ytd_nonsens": counts.get(ORDINARY, 0), "cn_ytd_sens": counts.get(SENSITIVE, 0), "us_bulk": bulk}


def _invalid(what: str, right: str) -> InvalidLawEntry:
    return InvalidLawEntry(what, where="counters", right=right)
