"""A regime that inbond does not have, as an officer would write it: a folder with tables, rules and cases, no Python.

A toy: shaped like Vietnam's Decree 13/2023 (a dossier on each transfer abroad), and no statement of that law.
"""

from pathlib import Path

FACTS = """\
regime: vietnam
title: Vietnam PDPD (toy)
kind: jurisdiction
since: 2023-07-01
checked: 2026-11-15
applies: {source: true}
facts:
  vn_dossier: {type: word, default: none, values: [none, filed]}
lists:
  area:
    - {places: [VN], since: 2023-07-01, source: Decree 13/2023 Art. 1}
tools:
  - {as: dossier, since: 2023-07-01, source: Decree 13/2023 Art. 25, when: {vn_dossier: [filed]}}
levers:
  - {say: a dossier filed with the ministry, set: {vn_dossier: filed}}
"""
RULES = """\
@id("V0") @reason("it stays in Vietnam") @article("Decree 13/2023 Art. 25") @remedy("nothing to mend")
permit (principal in List::"vietnam/area", action == Action::"vietnam", resource);

@id("V1") @reason("a dossier is filed") @article("Decree 13/2023 Art. 25") @remedy("nothing to mend")
@duties("OBL_ROPA")
permit (principal, action == Action::"vietnam", resource)
when { resource.tools.contains("dossier") && !(principal in List::"vietnam/area") };

@id("V2") @reason("no dossier is filed") @article("Decree 13/2023 Art. 25") @remedy("file the dossier")
forbid (principal, action == Action::"vietnam", resource)
when { !resource.tools.contains("dossier") && !(principal in List::"vietnam/area") };
"""
CASES = """\
{"base": {"src": "VN", "dst": "SG", "as_of": "2026-11-15", "exporter_kind": "merchant", "recipient_kind": "merchant",
          "categories": ["order_history"], "purpose": "delivery", "n_subjects": 10},
 "scenarios": [
  {"id": "V-home", "facts": {"dst": "VN"}, "expected": "permit", "policies": ["V0"]},
  {"id": "V-filed", "facts": {"vn_dossier": "filed"}, "expected": "permit_with_obligations", "policies": ["V1"],
   "obligations_min": ["OBL_ROPA"]},
  {"id": "V-bare", "facts": {}, "expected": "deny", "policies": ["V2"]}]}
"""


def vietnam(home: Path, binds: str = "") -> Path:
    """Write the regime's folder into `home` and return `home`: a set of regimes on top of the built-in ones.

    `binds` is what an obligation of its own, OBL_VN, does to columns (YAML); it comes with a dossier.
    """
    cases = home / "vietnam" / "cases"
    cases.mkdir(parents=True)
    own = f"obligations:\n  OBL_VN: {{when: atomic, evidence: the columns are bound, binds: {binds}}}\n"
    (cases.parent / "facts.yaml").write_text(FACTS + (own if binds else ""))
    (cases.parent / "rules.cedar").write_text(RULES.replace("OBL_ROPA", "OBL_VN") if binds else RULES)
    (cases / "transfers.json").write_text(CASES)
    return home
