"""Chapters 6, 7 and 8: the nodes' evidence verified from files alone, what everything cost, and where it is."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from compliance.audit.verify import verify
from examples.consortium import AUTHORITY, COORDINATOR
from examples.demo.show import Show
from examples.demo.training import AUPRC
from inbond.console import size

SMALLEST = "p3"
AT_ONCE = 3  # commands; each starts an interpreter
EVIDENCE = "evidence"


def verify_logs(show: Show) -> None:
    """Chapter 6: stop all processes, export every log, verify each file, and find a forged entry."""
    show.stage.chapter(
        "Every node's evidence log is verified offline",
        "All processes are stopped now: the exported file alone must prove what happened, without trust in the node "
        "that kept it. (inbond audit export, inbond audit verify; the keys are those in the logs, which an officer "
        "compares with the published ones.)",
    )
    show.consortium.stop()
    folder = show.consortium.root / EVIDENCE
    folder.mkdir()
    homes = (AUTHORITY, COORDINATOR, *show.consortium.members)
    with show.stage.work("exporting and verifying", len(homes)) as work, ThreadPoolExecutor(AT_ONCE) as pool:
        reports = []
        for report in pool.map(lambda home: _verified(show, home), homes):
            reports.append(report)
            work.step(report["home"])
    rows = ((one["home"], one["size"], size(one["bytes"]), one["root"][:16], one["verdict"]) for one in reports)
    show.stage.table(("node", "entries", "size", "Merkle root", "verdict"), rows)
    show.stage.check(
        f"all {len(reports)} logs verify, up to their last entry",
        holds=all(one["ok"] and one["unsigned"] == 0 for one in reports),
    )
    _find_forgery(show)


def _verified(show: Show, home: str) -> dict[str, Any]:
    file = show.consortium.root / EVIDENCE / f"{home}.jsonl"
    show.consortium.json("audit", "export", "--out", str(file), home=home)
    report = show.consortium.json("audit", "verify", str(file), home=home)
    verdict = "verified" if report["ok"] else report["problem"]
    return {**report, "home": home, "bytes": file.stat().st_size, "verdict": verdict}


def _find_forgery(show: Show) -> None:
    """Change one word of one entry in a copy: the check must name that entry."""
    folder = show.consortium.root / EVIDENCE
    lines = (folder / f"{SMALLEST}.jsonl").read_text("utf-8").splitlines(keepends=True)
    number = next(index for index, line in enumerate(lines[1:]) if "permit" in line)
    lines[number + 1] = lines[number + 1].replace("permit", "refuse", 1)
    forged = folder / f"{SMALLEST}-forged.jsonl"
    forged.write_text("".join(lines), "utf-8")
    found = verify(forged)
    what = f"a copy in which one word of {SMALLEST}'s entry {number} is changed fails, and the check names that entry"
    show.stage.check(what, holds=not found.ok and found.first_bad == number)


def count_costs(show: Show) -> None:
    """Chapter 7: seconds, bytes and epsilon of every job, and what only the smallest firm can see."""
    show.stage.chapter(
        "What each thing cost, and what its owner alone sees",
        "Seconds from submission to the opened result on this machine, bytes on the parties' links, epsilon per firm.",
    )
    rows = (
        (
            cost.name,
            cost.job[:12],
            f"{cost.seconds:.1f}",
            size(cost.to_parties),
            size(cost.from_parties),
            f"{cost.epsilon:g}",
        )
        for cost in show.costs
    )
    show.stage.table(("name", "job", "seconds", "to parties", "from parties", "epsilon"), rows)
    _own_view(show)


def _own_view(show: Show) -> None:
    """`inbond party jobs` of the smallest firm: how it fares with the joint model and alone."""
    jobs = show.consortium.json("party", "jobs", home=SMALLEST)
    fraud = next(cost.job for cost in show.costs if cost.name == "fraud")
    own = next(job for job in jobs if job["job"] == fraud)
    ours, alone = own["own_metrics"][AUPRC.metric], own["own_baselines"][f"local_{AUPRC.metric}"]
    rows = (
        (job["job"][:12], job["state"], job["steps"], size(job["bytes_in"]), size(job["bytes_out"])) for job in jobs
    )
    show.stage.say(f"inbond party jobs at {SMALLEST}, the smallest firm; no other node has these figures:")
    show.stage.table(("job", "state", "steps", "in", "out"), rows)
    show.stage.say(
        f"On its own {own['own_metrics']['rows']:.0f} test payments ({own['own_metrics']['positives']:.0f} frauds) the "
        f"joint model has AUPRC {ours:.3f}, its own model {alone:.3f} after as many passes over its rows "
        f"({ours - alone:+.3f})."
    )
    if show.real:
        show.stage.say("Said soberly: at equal passes the gain on these data is small, and varies from run to run.")
    else:
        show.stage.check(f"{SMALLEST} is better off with the joint model", holds=ours > alone)


def show_places(show: Show, *, keep: bool) -> None:
    """Chapter 8: where everything is, or that it is removed."""
    root = show.consortium.root
    show.stage.chapter(
        f"Where everything is: {root}" if keep else "Nothing stays behind",
        "A node's folder is all there is of it: keys, certificates, contracts, evidence, budget, jobs."
        if keep
        else "All processes have ended, and the folder is removed now (--keep keeps it).",
    )
    if not keep:
        return
    rows = (
        (f"{COORDINATOR}/", "the coordinator: routing, jobs and verdicts, no key that opens anything"),
        (f"{AUTHORITY}/", "the consortium's certificate authority"),
        ("w1/ ... m2/", "the parties: table, contracts, keys, audit.db, budget.db, state.db"),
        ("rosa/", "the researcher: the only place with the keys of the results"),
        ("*.log", "what each process said"),
        (f"{EVIDENCE}/", f"exported logs, for `inbond audit verify {EVIDENCE}/p1.jsonl`"),
    )
    show.stage.table(("in it", "what"), rows)
