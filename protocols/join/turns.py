"""In which order the two sides of a join act, and which mail each turn waits for.

Who learns what: nothing is sent here; engine and number of parts are in the signed plan. Each side goes through turns
of its own, counted from 1, and each of its mails is taken by one turn of the peer. In the engine `ot` matching and
columns are cut into P parts: while the value side answers one, the attribute side asks for the next, or adds up one.

            attribute side                                      value side
    ot      1          size, offer                              1      size
            2          takes 1                                  2      takes 1: choices, key
            3          takes 2: matrices of part 1              2 + i  takes the matrices of part i: tags, columns
            then       matrices of a part, or                   3 + P  takes the last: opens the replies
                       takes 2 + i: adds part i up;
                       replies with the last

    ec-     1          list sizes                               1      size
    hidden  2          takes 1: points                          2      takes 1: points, key
            3          takes 2                                  3      takes 2: tags and columns
            4          takes 3: replies                         4      takes 4: opens the replies

In which order the attribute side asks and adds is in `script`: few enough parts are under way that adding begins early,
and enough that the value side need not wait.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Engine = Literal["ot", "ec-hidden"]

MAX_PARTS = 16
LEAD = 4


def turns(engine: Engine, parts: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the attribute side and of the value side: for each turn the peer's turn whose mail it takes, 0 for none."""
    if engine == "ec-hidden":
        return (0, 1, 2, 3), (0, 1, 2, 4)
    order = script(parts)
    asked = {act.part: turn for turn, act in enumerate(order, 3) if act.asks}
    attribute = (3 + act.part if not act.asks else 2 if act.part == 0 else 0 for act in order)
    return (0, 1, *attribute), (0, 1, *(asked[part] for part in range(parts)), 2 + 2 * parts)


class Act(NamedTuple):
    """What the attribute side does in a turn after the second: it `asks` for a part (from 0), or adds one up."""

    asks: bool
    part: int


def script(parts: int) -> list[Act]:
    """The attribute side's acts: it asks for LEAD parts, and then for another after each that it added up."""
    lead = min(LEAD, parts)
    order = [Act(True, part) for part in range(lead)]
    for part in range(parts):
        order.append(Act(False, part))
        if part + lead < parts:
            order.append(Act(True, part + lead))
    return order
