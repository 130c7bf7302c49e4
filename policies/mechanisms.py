"""Transfer tools and certificates that hold by a document: who claims one has a record of it (`policies.evidence`)."""

from typing import Literal

Mechanism = Literal[
    "scc_m1", "scc_m2", "scc_m3", "scc_m4", "bcr", "code_art46", "cert_art46", "idta", "uk_addendum", "uk_bcr",
    "cac_sa", "cn_sc_filed", "cn_cert", "gba_sc", "br_scc", "br_bcr", "br_specific_clauses", "jp_equivalent_contract",
    "sg_contract", "sg_bcr",
]  # fmt: skip
Certificate = Literal["eu_us_dpf", "uk_extension_dpf", "apec_cbpr", "global_cbpr", "apec_prp", "global_prp"]
