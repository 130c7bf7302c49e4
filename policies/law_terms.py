"""What a controller states of a table before the law: whose data they are, on which basis, who receives them.

It is published with the contract, so every member reads what each transfer rests on. It holds what only the controller
knows. Where the data go, what leaves and how it is protected follows from the plan; tools, assessments and evidence
from records (`policies.evidence`). Neither can be stated here: a statement is no document.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from policies.document import Name, Value
from policies.law.tables import FactName, PlaceCode
from policies.mechanisms import Mechanism
from policies.patterns import Pattern

Statement = StrictBool | StrictInt | StrictStr | tuple[StrictStr, ...]
Statements = dict[FactName, Statement]

FROM_THE_PLAN = frozenset({
    "src", "dst", "as_of", "exporter_kind", "categories", "purpose", "n_subjects", "subject_residency", "personal",
    "output_kind", "key_holder", "recipient_can_decrypt", "dp", "secure_aggregation", "n_clients",
})  # fmt: skip
FROM_RECORDS = frozenset({
    "recipient_certs", "further_mechanisms", "tool_since", "tool_until", "tia", "pipia_done", "anon_test", "min_cell_k",
    "top2_share",
})  # fmt: skip
RECORDED_TOOLS = frozenset(get_args(Mechanism))
"""Transfer tools that hold by a record only; a contract that names one rests on that alone, where several hold."""


class LawTerms(Value):
    """The controller's statements on one table. `facts` are of the law's vocabulary (docs/law.md).

    `subjects` is how many people the table is about, at most; `residence` where they live; `subject` the column that
    tells them apart, without which the counters add the whole table up for each job, and nobody can be left out.
    With `only_consenting` nobody is read who has not consented to the purpose in the party's registry. `purposes` and
    `recipients` (patterns of names) state further facts for one purpose, or of one recipient; the narrower one counts.
    """

    organisation: Literal["warehouse", "payment", "merchant"]
    personal: StrictBool = True
    subjects: int = Field(default=0, ge=0, le=10**10)
    subject: Name | None = None
    only_consenting: StrictBool = False
    residence: tuple[PlaceCode, ...] = Field(default=(), max_length=250)
    facts: Statements = Field(default_factory=dict, max_length=64)
    purposes: dict[Pattern, Statements] = Field(default_factory=dict, max_length=64)
    recipients: dict[Pattern, Statements] = Field(default_factory=dict, max_length=64)

    @model_validator(mode="after")
    def _people_are_counted(self) -> "LawTerms":
        if self.personal != (self.subjects > 0):
            raise ValueError("`personal` and `subjects` do not fit; data about people say how many, others say none")
        return self

    @model_validator(mode="after")
    def _who_consents_can_be_told(self) -> "LawTerms":
        if self.only_consenting and self.subject is None:
            raise ValueError("`only_consenting` cannot tell who does; add `subject`, the column of people's ids")
        return self

    @model_validator(mode="after")
    def _states_only_what_it_can(self) -> "LawTerms":
        for name in (name for said in self._all() for name in said):
            if name in FROM_THE_PLAN:
                raise ValueError(f"`{name}` is not stated; it follows from the plan and from this contract's own keys")
            if name in FROM_RECORDS:
                raise ValueError(f"`{name}` is not stated; it is proved by a record (inbond record add)")
        return self

    def _all(self) -> Iterator[Statements]:
        yield self.facts
        yield from self.purposes.values()
        yield from self.recipients.values()

    def stated(self, purpose: str, recipient: str) -> dict[str, Any]:
        """Every fact that is stated for a `purpose` and a `recipient`, the name of a member."""
        found: dict[str, Any] = {**self.facts, **self.purposes.get(purpose, {})}
        for pattern, said in self.recipients.items():
            if fnmatchcase(recipient, pattern):
                found |= said
        return found
