"""The protocols this version speaks, and the steps each kind of job takes: one table for planner and party.

Nothing is negotiated: a plan that names another protocol, version or step is refused (protocols may only be added
here together with the code that runs them).
"""

from collections.abc import Iterable

from policies.errors import InvalidInput
from policies.plan import Answered, JoinPlan, Leak, LeakKind, Plan, PlanNoise, Role, Step

MASKED_SUM = ("encrypted", "masked-bfv-sum", 1)
PLAIN_SUM = ("plain", "plain-sum", 1)
JOINED_SUM = ("encrypted", "psi-joined-bfv-sum", 2)
ANSWER_STEP = "query.answer"  # of the parties that read the answer of a join, where the researcher does not
_TRAINERS_LEARN = (LeakKind.EXAMPLE_COUNT, LeakKind.JOINT_UPDATE, LeakKind.JOINT_MODEL, LeakKind.JOINT_METRICS)
Sides = tuple[tuple[str, ...], tuple[str, ...]]
KEY_MODES = {"train": ("shared", "holder"), "query": ("holder",)}


def steps_of(kind: str, mode: str, rounds: int, join: JoinPlan | None = None) -> tuple[Step, ...]:
    """The steps of a job: `kind` train or query, `mode` encrypted or plain; rounds count from 1, the others once."""

    def once(name: str) -> Step:
        return Step(name=name, max_count=1)

    train = Step(name="train", max_count=rounds, first=1)
    if kind == "query":
        matching = (Step(name="query.join", max_count=join_turns(join), first=1),) if join else ()
        opening = (once(ANSWER_STEP),) if join and join.answer != "researcher" else ()
        return once("query.start"), *matching, once("query.count"), once("query.release"), *opening
    if mode == "plain":
        return once("query.initial"), train, Step(name="evaluate", max_count=rounds, first=1)
    return once("query.start"), once("query.census"), train, once("evaluate"), once("query.finish")


def join_turns(join: JoinPlan) -> int:
    """How many turns the side of a join has that has more of them."""
    return 2 + 2 * join.parts


def leaks_of(plan: Plan) -> frozenset[tuple[Role, LeakKind]]:
    """Who learns what by the protocol itself: a plan that leaves one of these out understates what it leaks."""
    if plan.kind == "query":
        released = released_leaks(plan.noise, plan.answered())
        return frozenset({(Role.PARTY, LeakKind.GROUP_COUNTS)} | {(leak.who, leak.what) for leak in released})
    parties = {(Role.PARTY, what) for what in _TRAINERS_LEARN}
    owner = {(Role.RESEARCHER, LeakKind.JOINT_MODEL), (Role.RESEARCHER, LeakKind.JOINT_METRICS)}
    if plan.protection.parameters.get("key_mode") == "holder":
        owner |= {(Role.RESEARCHER, LeakKind.JOINT_UPDATE)}
    if plan.protection.mode == "plain":
        owner |= {(Role.COORDINATOR, LeakKind.PARTY_CONTRIBUTION)}
    return frozenset(parties | owner)


def answered_by(recipients: Iterable[str], consortium: str, join: JoinPlan, sides: Sides) -> Answered:
    """Who reads the answer of a join, by the `recipients` (SPIFFE IDs) of its order; `sides` are names of parties.

    A person who asks reads it, and may hand it to the other recipients. Where there are parties alone they read it
    themselves. Raises InvalidInput unless they are one whole side of the join.
    """
    root, named = f"spiffe://{consortium}/party/", set(recipients)
    if not all(one.startswith(root) for one in named):
        return "researcher"
    found = next((number for number, side in enumerate(sides) if {root + name for name in side} == named), None)
    if found is None:
        ways = " or ".join(", ".join(sorted(side)) for side in sides)
        what = "the answer of a join is read by all parties of one side, or by the person who asks"
        raise InvalidInput(what, where="job: recipients", right=f"{ways}, or yourself")
    return "attributes" if found == join.attributes else "values"


def released_leaks(noise: PlanNoise, readers: tuple[str, ...]) -> tuple[Leak, ...]:
    """What becomes known of the groups that are large enough: to the parties `readers`, or else to the researcher.

    Those parties see the joint counts of every group anyway.
    """
    what = LeakKind.EXACT_AGGREGATE if noise.mechanism == "none" else LeakKind.NOISED_AGGREGATE
    about = "groups of at least the minimum size"
    if readers:
        return (Leak(who=Role.PARTY, what=what, about=about, learners=readers),)
    return tuple(Leak(who=Role.RESEARCHER, what=one, about=about) for one in (LeakKind.GROUP_COUNTS, what))


def join_leaks(join: JoinPlan, sides: Sides) -> tuple[Leak, ...]:
    """What the parties of a join learn of each other's tables; `sides` are the names of the parties by side.

    Both engines show the attribute side which positions of a secretly permuted table fall into which of its groups:
    by OT extension it also sees which of its own rows they belong to, by the hidden elliptic-curve form it does not,
    but there the value side sees how many lists of keys with equal rows it has, and their sizes, rounded up.
    """
    attributes, values = sides[join.attributes], sides[1 - join.attributes]

    def leak(what: LeakKind, about: str, learners: tuple[str, ...], owners: tuple[str, ...]) -> Leak:
        return Leak(who=Role.PARTY, what=what, about=about, learners=learners, owners=owners)

    by_engine = {
        "ot": (leak(LeakKind.INTERSECTION_MEMBERS, "which of its own keys the other side has", attributes, values),),
        "ec-hidden": (
            leak(LeakKind.INTERSECTION_SIZE, "how many keys match, by group and rows per key", attributes, values),
            leak(LeakKind.SET_SIZE_BUCKET, "number and rounded sizes of the lists of such keys", values, attributes),
        ),
    }[join.engine]
    return (
        leak(LeakKind.SET_SIZE_BUCKET, "number of keys, rounded up to a power of two", attributes, values),
        leak(LeakKind.SET_SIZE_BUCKET, "number of keys, rounded up to a power of two", values, attributes),
        *by_engine,
        leak(LeakKind.GROUP_COUNTS, "joint counts of every group", attributes, values),
        leak(LeakKind.GROUP_COUNTS, "joint counts of every group", values, attributes),
    )


def _check_join(plan: Plan) -> None:
    join, sides = plan.join, (plan.side(0), plan.side(1))
    if join is None:
        if any(one.side for one in plan.participants):
            raise InvalidInput("the plan has two sides and no join", right="a plan made by this version")
        if any(leak.learners or leak.owners for leak in plan.leaks()):  # or a leak could be said to be of others' data
            raise InvalidInput("the plan narrows who learns what and has no join", right="a plan made by this version")
        return
    if plan.kind != "query" or not all(sides):
        raise InvalidInput("a join needs a query and parties on both sides", right="a plan made by this version")
    told = (*join_leaks(join, sides), *released_leaks(plan.noise, plan.answered()))
    unsaid = set(told) - set(plan.leaks())
    if unsaid:
        what = min(leak.what for leak in unsaid)
        raise InvalidInput(f"the plan does not say that the join shows {what}", right="a plan made by this version")


def check_protocol(plan: Plan, rounds: int) -> None:
    """Raise InvalidInput unless `plan` follows a protocol of this version, with exactly its steps."""
    protection = plan.protection
    spoken = (protection.mode, protection.protocol, protection.version)
    if spoken not in {MASKED_SUM, PLAIN_SUM, JOINED_SUM}:
        right = ", ".join(f"{name}/{version}" for _, name, version in (MASKED_SUM, PLAIN_SUM, JOINED_SUM))
        raise InvalidInput(f"protocol {protection.protocol}/{protection.version} is not spoken here", right=right)
    key_mode = protection.parameters.get("key_mode")
    if (spoken == JOINED_SUM) != (plan.join is not None):
        raise InvalidInput("protocol and join do not belong together", right="a plan made by this version")
    if spoken != PLAIN_SUM and key_mode not in KEY_MODES[plan.kind]:
        right = f"key_mode {' or '.join(KEY_MODES[plan.kind])}"
        raise InvalidInput(f"key_mode {key_mode} is not spoken for kind {plan.kind}", right=right)
    if plan.kind == "query" and spoken == PLAIN_SUM:
        raise InvalidInput("a query is never answered in the clear", right="protection: encrypted")
    if plan.kind == "train" and plan.noise.mechanism != "none":
        raise InvalidInput("noise on training is not spoken by this version", right="privacy: {mechanism: none}")
    unsaid = leaks_of(plan) - {(leak.who, leak.what) for leak in plan.leaks()}
    if unsaid:
        who, what = min(unsaid)
        raise InvalidInput(f"the plan does not say that the {who} learns {what}", right="a plan made by this version")
    _check_join(plan)
    if plan.steps != steps_of(plan.kind, protection.mode, rounds, plan.join):
        raise InvalidInput("the plan's steps are not the protocol's", right="a plan made by this version")
