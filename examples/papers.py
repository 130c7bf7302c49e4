"""The documents that the example members have on their transfers, as records of evidence. All of them are made up.

In a real consortium lawyers write them, and look at them again each year; these are of this year. Each member has what
its own law asks for before personal data may become readable with the others: a transfer tool, an assessment of each
other country, and the papers of its duties.
"""

import hashlib
from collections.abc import Iterator, Mapping, Set
from datetime import UTC, datetime
from typing import Any

import yaml

_TOOLS = {
    "DE": {"mechanism": "scc_m1", "annexes": "annexes I to III of 2026"},
    "FR": {"mechanism": "scc_m1", "annexes": "annexes I to III of 2026"},
    "GB": {"mechanism": "idta"},
    "SG": {"mechanism": "sg_contract"},
    "BR": {"mechanism": "br_scc"},
    "JP": {"mechanism": "jp_equivalent_contract"},
    "CN": {"mechanism": "cn_sc_filed", "number": "310000-2026-00017"},
}  # the tool that an exporter's own law knows
_ASSESSING = ("DE", "FR", "GB")  # whose law wants the destination's law assessed
_DUTIES = {
    "DE": ("OBL_ROPA", "OBL_ROLE_CONTRACT", "OBL_TRANSFER_NOTICE"),
    "FR": ("OBL_ROPA", "OBL_ROLE_CONTRACT", "OBL_TRANSFER_NOTICE"),
    "GB": ("OBL_ROPA", "OBL_ROLE_CONTRACT", "OBL_TRANSFER_NOTICE"),
    "BR": ("OBL_ROPA", "OBL_BR_PUBLISH"),
    "CN": ("OBL_CN_NOTICE",),
}


def papers(
    exporter: str, country: str, recipients: Mapping[str, str], unassessed: frozenset[str] = frozenset()
) -> dict[str, str]:
    """File name -> record (YAML) for transfers from `exporter` in `country` to `recipients` (name -> country).

    The law of the `unassessed` countries was not looked into.
    """
    names = sorted(name for name in recipients if name != exporter)
    if not names:
        return {}
    return {
        f"{name}.yaml": _text(exporter, names, fields)
        for name, fields in _records(country, set(recipients.values()) - unassessed)
    }


def _records(country: str, places: Set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if country in _TOOLS:
        yield "tool", {"kind": "tool", **_TOOLS[country]}
    if country in _ASSESSING:
        for other in sorted(places - {country}):
            yield f"assessment-{other.lower()}", {"kind": "tia", "destination": other, "outcome": "ok"}
    if country == "CN":
        yield "pipia", {"kind": "pipia", "number": "PIA-2026-4"}
    if country in _DUTIES:
        yield "duties", {"kind": "duty", "duties": list(_DUTIES[country])}


def _text(exporter: str, recipients: list[str], fields: Mapping[str, Any]) -> str:
    year = datetime.now(UTC).year
    record = {
        **fields,
        "issuer": f"legal department of {exporter} (made up)",
        "valid_from": f"{year}-01-01",
        "valid_until": f"{year + 9}-12-31",
        "exporter": exporter,
        "recipients": recipients,
    }
    return yaml.safe_dump({**record, "document_sha256": hashlib.sha256(yaml.safe_dump(record).encode()).hexdigest()})
