"""What an owner asks of people before a job may touch a table. Published with the contract: all members read it."""

from pydantic import Field

from policies.document import Value
from policies.identity import Office

MAX_PEOPLE = 10
MAX_HOURS = 7 * 24  # no job's deadline is later


class ApprovalRule(Value):
    """`people` of one role must approve each job's plan, none of them its submitter.

    With `other_organisation` they belong to another organisation than the submitter. An approval counts for `hours`.
    """

    people: int = Field(default=1, ge=1, le=MAX_PEOPLE)
    role: Office = "officer"
    other_organisation: bool = False
    hours: int = Field(default=72, ge=1, le=MAX_HOURS)
