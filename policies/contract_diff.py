"""What changed between two versions of a data contract, and whether it permits more, less, or something else.

Learns two contracts, no data. Permitting more is what members of the consortium and an owner's people look for: a
column, a use, a purpose, a reader, a leak, a smaller group, a larger budget, a later end.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from policies.contract import DataClass, PublishedContract
from policies.document import Path

Effect = Literal["more", "less", "other"]
_OPPOSITE: dict[Effect, Effect] = {"more": "less", "less": "more", "other": "other"}
_CLOSENESS = [one.value for one in DataClass]  # from open to special category
_SETS = frozenset({"uses", "purposes", "countries", "ids", "domain", "values_to"})  # each member permits something
_PERMITTED: dict[str, Callable[[Any], Any]] = {
    "class": lambda value: -_CLOSENESS.index(value),
    "mode": lambda value: value == "none",
    "other_organisation": lambda value: not value,
    "allow_plain": bool,
    "expires": str,
    **dict.fromkeys(("minimum_group", "minimum_parties", "people"), lambda value: -value),
    **dict.fromkeys(("epsilon", "delta", "hours", "rows_per_key", "blocks"), lambda value: value),
}  # key -> how much a value of it permits; the value of another key is another rule, neither more nor less


@dataclass(frozen=True, slots=True)
class Change:
    """One key (`path`) whose value changed; `old` or `new` is None where the key was added or left out."""

    path: Path
    old: Any
    new: Any
    effect: Effect

    @property
    def key(self) -> str:
        """The path as people write it."""
        return ".".join(map(str, self.path))

    def payload(self) -> dict[str, Any]:
        """The change as JSON data."""
        return {"key": self.key, "old": self.old, "new": self.new, "permits": self.effect}


def changes(old: PublishedContract, new: PublishedContract) -> tuple[Change, ...]:
    """Every difference between two contracts, in order of the keys; where the table is counts as well."""
    before, after = _told(old), _told(new)
    both = [name for name in before if name in after]  # a published contract does not say where the table is
    return tuple(change for name in both for change in _between((name,), before[name], after[name]))


def _told(contract: PublishedContract) -> dict[str, Any]:
    return {**contract.model_dump(mode="json", by_alias=True), **contract.published()}


def _between(path: Path, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*old, *new)):
            yield from _between((*path, name), old.get(name), new.get(name))
    elif _is_set(path) and isinstance(old, list) and isinstance(new, list):
        yield from (Change(path, one, None, "less") for one in old if one not in new)
        yield from (Change(path, None, one, "more") for one in new if one not in old)
        if sorted(map(str, old)) == sorted(map(str, new)):
            yield Change(path, old, new, "other")  # the same in another order
    else:
        yield Change(path, old, new, _effect(path, old, new))


def _is_set(path: Path) -> bool:
    """Whether the members of a list permit one by one; `law` states facts, which permit nothing by themselves."""
    return path[0] != "law" and (path[-1] in _SETS or "counterparts" in path)


def _effect(path: Path, old: Any, new: Any) -> Effect:
    """What the new value of a key does that had one, or was added, or left out."""
    if old is None or new is None:
        added = _added(path)
        return added if old is None else _OPPOSITE[added]
    permitted = _PERMITTED.get(str(path[-1])) if path[0] != "law" else None
    if permitted is None:
        return "other"
    return "more" if permitted(new) > permitted(old) else "less"


def _added(path: Path) -> Effect:
    """What it does that a part was added: a column, a key or a counterpart permits, people, masks, agreements limit."""
    match path:
        case ("columns", _) | ("columns", _, "key") | ("columns", _, "key", "counterparts", _):
            return "more"
        case ("law",) | ("budget",):
            return "more"  # without `law` the table takes part in nothing, without `budget` in nothing with noise
        case ("audit",):
            return "more"  # values of encrypted columns may be shown to somebody
        case ("approval",) | ("views",) | ("agreement",):
            return "less"
    return "other"
