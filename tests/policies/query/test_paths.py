"""From a column back to what was asked: the parts of the statement that read it, in the author's words."""

import pytest

from policies.query.paths import outputs_of, path_of, readers_of
from policies.query.reading import parse

QUERY = parse(
    "SELECT o.country, COUNT(*) AS n, SUM(p.fee * 2) AS fees, AVG(fee) FROM orders o JOIN payments p "
    "ON o.order_id = p.order_id WHERE p.fee > 3 AND late GROUP BY o.country HAVING MAX(p.fee) > 1 ORDER BY MIN(o.size)"
)


@pytest.mark.parametrize(
    ("dataset", "column", "parts"),
    [
        ("orders", "country", ("o.country", "GROUP BY o.country")),
        ("payments", "late", ("WHERE late",)),
        ("orders", "size", ("ORDER BY MIN(o.size)",)),
        ("orders", "order_id", ("WHERE o.order_id = p.order_id",)),
        ("payments", "country", ()),
        (
            "payments",
            "fee",
            ("SUM(p.fee * 2) AS fees", "AVG(fee) AS avg_fee", "WHERE p.fee > 3", "HAVING MAX(p.fee) > 1"),
        ),
    ],
)
def test_every_part_that_reads_a_column_is_named_outputs_first(
    dataset: str, column: str, parts: tuple[str, ...]
) -> None:
    assert readers_of(QUERY, dataset, column) == parts


def test_a_phrase_has_at_most_three_parts() -> None:
    assert path_of(QUERY, "payments", "fee") == (
        "`SUM(p.fee * 2) AS fees`, `AVG(fee) AS avg_fee`, `WHERE p.fee > 3` and 1 more"
    )
    assert outputs_of(QUERY) == "`o.country`, `COUNT(*) AS n`, `SUM(p.fee * 2) AS fees` and 1 more"
    assert path_of(QUERY, "orders", "nothing") == ""
