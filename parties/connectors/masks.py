"""A column as its owner lets it be seen, as an expression of the owner's engine."""

from sqlglot import exp

from parties.connectors.pushdown import SQL_TYPES, WRITTEN_IN
from policies.contract import ColumnType
from policies.views import Cut


def masked(value: exp.Expr, kind: ColumnType, mask: Cut) -> exp.Expr:
    """`value`, of type `kind`, as `mask` shows it, in the same type."""
    return exp.cast(_shown(value, mask), SQL_TYPES[kind], dialect=WRITTEN_IN)


def _shown(value: exp.Expr, mask: Cut) -> exp.Expr:
    if mask.form == "nothing":
        return exp.null()
    if mask.form == "prefix":
        return exp.Substring(this=value, start=exp.Literal.number(1), length=exp.Literal.number(mask.size or 0))
    if mask.form == "round":
        rest = exp.Mod(this=value.copy(), expression=exp.Literal.number(mask.size or 1))
        return exp.Sub(this=exp.paren(value), expression=exp.paren(rest))
    return exp.TimestampTrunc(this=value, unit=exp.var(mask.form.upper()))
