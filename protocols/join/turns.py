"""In which order the two sides of a join act, and which mail each turn waits for.

Who learns what: nothing is sent here; engine and number of parts are in the signed plan. Each side goes through turns
of its own, counted from 1, and each of its mails is taken by one turn of the peer. In the engine `ot` matching and
columns are cut into P parts: while the value side answers one, the attribute side asks for the next, or adds up one.

            attribute side                                      value side
    ot      1          size, offer                              1      size
            2          takes 1                                  2      takes 1: choices
            3          takes 2: matrices of part 1              2 + i  takes 2 + i: tags and columns of part i
            2 + i      matrices of part i                       3 + P  takes 2 + 2 P: opens the replies
            2 + P + i  takes 2 + i: adds part i up, and replies with the last

    ec-     1          list sizes                               1      size
    hidden  2          takes 1: points                          2      takes 1: points
            3          takes 2                                  3      takes 2: tags and columns
            4          takes 3: replies                         4      takes 4: opens the replies
"""

from __future__ import annotations

from typing import Literal

Engine = Literal["ot", "ec-hidden"]

MAX_PARTS = 16


def turns(engine: Engine, parts: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the attribute side and of the value side: for each turn the peer's turn whose mail it takes, 0 for none."""
    if engine == "ec-hidden":
        return (0, 1, 2, 3), (0, 1, 2, 4)
    answers = range(3, 3 + parts)
    return (0, 1, 2, *[0] * (parts - 1), *answers), (0, 1, *answers, 2 + 2 * parts)
