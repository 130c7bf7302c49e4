"""Refusing what is not recognised: each refusal shows the piece of SQL and a form that can be answered."""

from sqlglot import exp

from policies.errors import InvalidInput

DIALECT = "duckdb"
MAX_SHOWN = 63


def render(node: exp.Expr) -> str:
    """Return the one spelling of `node` in the researcher's dialect, every name quoted."""
    return node.sql(dialect=DIALECT, identify=True, comments=False)


def shown(node: exp.Expr) -> str:
    """Return `node` for an error: on one line, cut when long."""
    text = " ".join(node.sql(dialect=DIALECT, comments=False).split())
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


class Refusals:
    """Makes the errors of one statement; `where` names the text they speak of."""

    def __init__(self, where: str) -> None:
        self.where = where

    def refuse(self, what: str, right: str) -> InvalidInput:
        """Return the error that says `what` is wrong and what would be `right`."""
        return InvalidInput(what, where=self.where, right=right)

    def only(self, node: exp.Expr, *allowed: str) -> None:
        """Raise InvalidInput when `node` carries any argument that is not in `allowed`."""
        extra = [name for name, value in node.args.items() if value and name not in allowed and name != "_type"]
        if extra:
            raise self.refuse(
                f"`{extra[0].strip('_')}` in `{shown(node)}` is not answered", "write the plain form without it"
            )
