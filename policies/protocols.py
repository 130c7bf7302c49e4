"""The protocols this version speaks, and the steps each kind of job takes: one table for planner and party.

Nothing is negotiated: a plan that names another protocol, version or step is refused (protocols may only be added
here together with the code that runs them).
"""

from policies.errors import InvalidInput
from policies.plan import JoinPlan, Leak, LeakKind, Plan, Role, Step

MASKED_SUM = ("encrypted", "masked-bfv-sum", 1)
PLAIN_SUM = ("plain", "plain-sum", 1)
JOINED_SUM = ("encrypted", "psi-joined-bfv-sum", 1)
JOIN_ROUNDS = 6  # exchanges of mail between the two sides; the engines differ in which of them carry anything
_TRAINERS_LEARN = (LeakKind.EXAMPLE_COUNT, LeakKind.JOINT_UPDATE, LeakKind.JOINT_MODEL, LeakKind.JOINT_METRICS)
KEY_MODES = {"train": ("shared", "holder"), "query": ("holder",)}


def steps_of(kind: str, mode: str, rounds: int, *, joined: bool = False) -> tuple[Step, ...]:
    """The steps of a job: `kind` train or query, `mode` encrypted or plain; rounds count from 1, the others once."""

    def once(name: str) -> Step:
        return Step(name=name, max_count=1)

    train = Step(name="train", max_count=rounds, first=1)
    if kind == "query":
        matching = (Step(name="query.join", max_count=JOIN_ROUNDS, first=1),) if joined else ()
        return once("query.start"), *matching, once("query.count"), once("query.release")
    if mode == "plain":
        return once("query.initial"), train, Step(name="evaluate", max_count=rounds, first=1)
    return once("query.start"), once("query.census"), train, once("evaluate"), once("query.finish")


def leaks_of(plan: Plan) -> frozenset[tuple[Role, LeakKind]]:
    """Who learns what by the protocol itself: a plan that leaves one of these out understates what it leaks."""
    if plan.kind == "query":
        released = LeakKind.EXACT_AGGREGATE if plan.noise.mechanism == "none" else LeakKind.NOISED_AGGREGATE
        learned = {(Role.PARTY, LeakKind.GROUP_COUNTS), (Role.RESEARCHER, LeakKind.GROUP_COUNTS)}
        return frozenset(learned | {(Role.RESEARCHER, released)})
    parties = {(Role.PARTY, what) for what in _TRAINERS_LEARN}
    owner = {(Role.RESEARCHER, LeakKind.JOINT_MODEL), (Role.RESEARCHER, LeakKind.JOINT_METRICS)}
    if plan.protection.parameters.get("key_mode") == "holder":
        owner |= {(Role.RESEARCHER, LeakKind.JOINT_UPDATE)}
    if plan.protection.mode == "plain":
        owner |= {(Role.COORDINATOR, LeakKind.PARTY_CONTRIBUTION)}
    return frozenset(parties | owner)


def join_leaks(join: JoinPlan, sides: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[Leak, ...]:
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
        return
    if plan.kind != "query" or not all(sides):
        raise InvalidInput("a join needs a query and parties on both sides", right="a plan made by this version")
    unsaid = set(join_leaks(join, sides)) - set(plan.leaks())
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
    if plan.steps != steps_of(plan.kind, protection.mode, rounds, joined=plan.join is not None):
        raise InvalidInput("the plan's steps are not the protocol's", right="a plan made by this version")
