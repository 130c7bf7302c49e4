"""The smallest change that would let a refused part of a job pass, where it is more than a policy's own remedy.

Words alone, from the order and published contracts: nothing is decided here. A rule is called by its id in
`baseline.cedar`.
"""

from collections.abc import Iterable, Mapping

from policies.contract import JoinKey, JoinLeak

Remedies = tuple[tuple[str, str], ...]  # (policy id, change)


def column_remedies(party: str, column: str, use: str, path: str) -> Remedies:
    """For a column that is put to `use`; `path` are the parts of the statement that read it, empty in a training."""
    leave = f", or leave out {path or 'the column'}"
    return (
        ("column-use", f"{party} can add `{use}` under `columns: {column}: uses`{leave}"),
        ("identifying-group", f"group by a public, operational or commercial column{leave}"),
    )


def join_remedies(
    party: str, keys: Mapping[str, JoinKey], leak: JoinLeak, learners: Iterable[str], *, fast: bool
) -> Remedies:
    """For a join whose `leak` the `keys` (by column) of a table do not grant to all `learners`; `fast` was asked."""
    changes = []
    for column, key in keys.items():
        missing = [name for name in learners if name != party and leak not in (key.grants(name) or ())]
        if missing:
            granted = f"`{leak}` under `columns: {column}: key: counterparts`"
            changes.append(f"{party} can grant {', '.join(missing)} {granted}")
    if fast and leak is JoinLeak.INTERSECTION_MEMBERS:
        changes.append("ask with `matching: auto`, which plans a join without this leak where there is one")
    return tuple((rule, ", or ".join(changes)) for rule in ("join-leak", "output-kind", "readable-object"))
