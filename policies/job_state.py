"""The life of a job as a table: which event leads from which state to which.

A restart before any message to a party has been released begins again at `submitted`; a restart while running
goes through `resuming`. The four final states accept nothing more.
"""

from enum import StrEnum

from policies.errors import PolicyError


class JobState(StrEnum):
    """Where a job is."""

    SUBMITTED = "submitted"
    PLANNING = "planning"
    DECIDING = "deciding"
    NEEDS_EVIDENCE = "needs-evidence"
    NEEDS_APPROVAL = "needs-approval"
    REFUSED = "refused"
    RUNNING = "running"
    RESUMING = "resuming"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    """What can happen to a job."""

    PLAN = "plan"
    DECIDE = "decide"
    LACK = "lack"
    PROVE = "prove"
    WAIT = "wait"
    APPROVE = "approve"
    REFUSE = "refuse"
    PERMIT = "permit"
    INTERRUPT = "interrupt"
    RESUME = "resume"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"


_LIVE = (
    JobState.SUBMITTED,
    JobState.PLANNING,
    JobState.DECIDING,
    JobState.NEEDS_EVIDENCE,
    JobState.NEEDS_APPROVAL,
    JobState.RUNNING,
    JobState.RESUMING,
)

JOB_TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    (JobState.SUBMITTED, JobEvent.PLAN): JobState.PLANNING,
    (JobState.PLANNING, JobEvent.DECIDE): JobState.DECIDING,
    (JobState.DECIDING, JobEvent.PERMIT): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.FINISH): JobState.FINISHED,
    (JobState.RESUMING, JobEvent.RESUME): JobState.RUNNING,
    # evidence: parties want records before they take part; people are asked when they have them
    (JobState.DECIDING, JobEvent.LACK): JobState.NEEDS_EVIDENCE,
    (JobState.NEEDS_EVIDENCE, JobEvent.PROVE): JobState.DECIDING,
    (JobState.NEEDS_EVIDENCE, JobEvent.REFUSE): JobState.REFUSED,
    # people: nothing is released and nobody admits the job while it waits for them; all parties decide after it
    (JobState.DECIDING, JobEvent.WAIT): JobState.NEEDS_APPROVAL,
    (JobState.NEEDS_APPROVAL, JobEvent.APPROVE): JobState.DECIDING,
    (JobState.NEEDS_APPROVAL, JobEvent.REFUSE): JobState.REFUSED,
    # refused: by the planner, by the coordinator's admission, or by a party (also one that resumes)
    (JobState.PLANNING, JobEvent.REFUSE): JobState.REFUSED,
    (JobState.DECIDING, JobEvent.REFUSE): JobState.REFUSED,
    (JobState.RESUMING, JobEvent.REFUSE): JobState.REFUSED,
    # interrupted: the coordinator stopped
    (JobState.SUBMITTED, JobEvent.INTERRUPT): JobState.SUBMITTED,
    (JobState.PLANNING, JobEvent.INTERRUPT): JobState.SUBMITTED,
    (JobState.DECIDING, JobEvent.INTERRUPT): JobState.SUBMITTED,
    (JobState.NEEDS_EVIDENCE, JobEvent.INTERRUPT): JobState.NEEDS_EVIDENCE,
    (JobState.NEEDS_APPROVAL, JobEvent.INTERRUPT): JobState.NEEDS_APPROVAL,
    (JobState.RUNNING, JobEvent.INTERRUPT): JobState.RESUMING,
    (JobState.RESUMING, JobEvent.INTERRUPT): JobState.RESUMING,
    **{(state, JobEvent.FAIL): JobState.FAILED for state in _LIVE},
    **{(state, JobEvent.CANCEL): JobState.CANCELLED for state in _LIVE},
}

FINAL_STATES = frozenset({JobState.REFUSED, JobState.FINISHED, JobState.FAILED, JobState.CANCELLED})


class JobStateError(PolicyError):
    """The event cannot happen in this state of the job."""


def advance(state: JobState, event: JobEvent) -> JobState:
    """Return the state after `event`; raises JobStateError when the table has no such step."""
    following = JOB_TRANSITIONS.get((state, event))
    if following is None:
        possible = [wanted for (origin, wanted) in JOB_TRANSITIONS if origin is state]
        right = f"possible now: {', '.join(possible)}" if possible else "the job has ended; submit a new one"
        raise JobStateError(f"`{event}` cannot happen while {state}", where="job", right=right)
    return following
