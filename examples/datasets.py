"""Tables for the example consortium: synthetic ones from a seed, or real ones partitioned into parties.

Who learns what: this is a preparation on one machine, before there are parties; it writes
`folder/<party>/<table>.parquet`, and from then on each party has its own folder only.

    w1, w2, w3   sales           warehouses in DE, GB and CN; w3 is small
    p1, p2, p3   payments        payment firms in GB, DE and SG, with fraud labels; p3 is small
                 order_payments  the firms' side of the merchants' orders
    m1, m2       orders          merchants in GB and DE

The synthetic tables have the columns, the calendar and the kinds of fraud of the real ones, so that one job
file serves both. Nothing in them is about anybody.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inbond.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

WAREHOUSES, FIRMS, MERCHANTS = ("w1", "w2", "w3"), ("p1", "p2", "p3"), ("m1", "m2")
MONEY = pa.decimal128(18, 2)
FIRST_MONDAY = np.datetime64("2010-11-29T00:00:00", "us")
WEEKS = 49
DAY = 86400
DAYS = 120
FIRM_SHARES = (50, 80, 100)  # cumulated per cent of customers per payment firm
ONLINE_RETAIL = "online_retail/online_retail_20101201_20111106.parquet"
ORDERS = "online_retail/orders_derived.parquet"
ORDER_PAYMENTS = "online_retail/payments_derived.parquet"
PAYMENTS = "payments_synth/payments_synth.parquet"


def bucket(salt: str, text: str, modulus: int) -> int:
    """Return the first 8 bytes, big endian, of SHA-256(salt + "|" + text), modulo `modulus`."""
    return int.from_bytes(hashlib.sha256(f"{salt}|{text}".encode()).digest()[:8], "big") % modulus


def buckets(salt: str, texts: Sequence[str], modulus: int) -> Ints:
    """Return `bucket` of each text; each distinct text is hashed once."""
    known = {text: bucket(salt, text, modulus) for text in set(texts)}
    return np.array([known[text] for text in texts], dtype=np.int64)


def _money(values: Floats) -> pa.Array:
    return pc.round(pa.array(values), 2).cast(MONEY)


def _write(folder: Path, party: str, table: str, content: pa.Table) -> None:
    (folder / party).mkdir(parents=True, exist_ok=True)
    pq.write_table(content, folder / party / f"{table}.parquet")


# --- real tables -------------------------------------------------------------------------------------------


def partition_real(data_folder: Path, folder: Path) -> None:
    """Write the parties' tables from the public data sets in `data_folder`. Raises ConfigError.

    Warehouses by hash of the stock code, payments by firm, orders by the merchant's jurisdiction.
    """
    tables = {name: _read(data_folder / name) for name in (ONLINE_RETAIL, ORDERS, ORDER_PAYMENTS, PAYMENTS)}
    _partition_sales(tables[ONLINE_RETAIL], folder)
    _partition(tables[PAYMENTS], key="payment_firm", parties=FIRMS, folder=folder, name="payments", columns=_payments)
    _partition(
        tables[ORDER_PAYMENTS],
        key="payment_firm",
        parties=FIRMS,
        folder=folder,
        name="order_payments",
        columns=_order_payments,
    )
    _partition(tables[ORDERS], key="merchant", parties=MERCHANTS, folder=folder, name="orders", columns=_orders)


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise ConfigError("no such file", where=str(path), right="give the folder that holds the public data sets")
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError("not readable as Parquet", where=str(path), right="fetch the file again") from error


def _partition_sales(lines: pa.Table, folder: Path) -> None:
    warehouse = buckets("wh", lines["StockCode"].to_pylist(), len(WAREHOUSES))
    sales = pa.table(
        {
            "stock_code": lines["StockCode"],
            "sold_at": lines["InvoiceDate"],
            "quantity": lines["Quantity"],
            "unit_price": pc.round(lines["UnitPrice"], 2).cast(MONEY),
            "country": lines["Country"],
            "cancelled": pc.starts_with(lines["InvoiceNo"], "C"),
        }
    )
    for number, party in enumerate(WAREHOUSES):
        _write(folder, party, "sales", sales.filter(pa.array(warehouse == number)))


def _partition(
    table: pa.Table,
    *,
    key: str,
    parties: Sequence[str],
    folder: Path,
    name: str,
    columns: Callable[[pa.Table], pa.Table],
) -> None:
    owner = table[key].cast(pa.string())
    for party in parties:
        _write(folder, party, name, columns(table.filter(pc.equal(owner, party.upper()))))


def _payments(rows: pa.Table) -> pa.Table:
    names = ["tx_id", "t_seconds", "customer_id", "shop_id", "customer_country", "shop_country"]
    chosen = rows.select([*names, "amount_cents", "fraud", "chargeback_t"])
    for country in ("customer_country", "shop_country"):
        chosen = chosen.set_column(chosen.schema.get_field_index(country), country, chosen[country].cast(pa.string()))
    return chosen


def _order_payments(rows: pa.Table) -> pa.Table:
    return pa.table(
        {
            "order_id": rows["order_id"],
            "customer_id": rows["customer_id"],
            "order_time": rows["order_time"],
            "amount_gbp": _money(rows["amount_gbp"].to_numpy()),
            "refund_gbp": _money(rows["refund_gbp"].to_numpy()),
            "method": rows["method"],
            "chargeback": rows["chargeback"],
        }
    )


def _orders(rows: pa.Table) -> pa.Table:
    money = _money(rows["amount_gbp"].to_numpy())
    names = ["order_id", "customer_id", "country", "order_time", "amount_gbp", "n_lines", "n_units"]
    return rows.set_column(rows.schema.get_field_index("amount_gbp"), "amount_gbp", money).select(names)


# --- synthetic tables --------------------------------------------------------------------------------------


def make_synthetic(folder: Path, seed: int = 1, scale: float = 1.0) -> None:
    """Write the parties' synthetic tables, the same for the same `seed` (at least 0). Raises ConfigError.

    `scale` multiplies the numbers of products, payments and orders; 1 trains in seconds.
    """
    if seed < 0 or not 0.01 <= scale <= 100:
        raise ConfigError(
            "seed or scale is out of range", where="examples.datasets", right="seed >= 0, scale 0.01 .. 100"
        )
    rng = np.random.default_rng(seed)
    for party, products in zip(WAREHOUSES, (150, 120, 24), strict=True):
        _write(folder, party, "sales", _synthetic_sales(rng, party, max(4, round(products * scale))))
    for party, payments in zip(FIRMS, (32_000, 26_000, 8_000), strict=True):
        _write(folder, party, "payments", _synthetic_payments(rng, party, max(500, round(payments * scale))))
    _synthetic_orders(rng, folder, {"m1": max(50, round(4000 * scale)), "m2": max(50, round(1500 * scale))})


_SALE_COUNTRIES = {
    "w1": (["Germany", "France", "Netherlands", "Belgium", "Poland"], [0.5, 0.2, 0.12, 0.1, 0.08]),
    "w2": (["United Kingdom", "EIRE", "Spain", "Portugal"], [0.75, 0.13, 0.08, 0.04]),
    "w3": (["Hong Kong", "Singapore", "Japan", "Australia"], [0.35, 0.25, 0.2, 0.2]),
}


def _synthetic_sales(rng: np.random.Generator, party: str, products: int) -> pa.Table:
    units = _weekly_units(rng, products)
    code, week = np.nonzero(units)
    parts = rng.integers(1, 4, len(code))
    row = np.repeat(np.arange(len(code)), parts)
    quantity = np.maximum(1, np.rint(units[code, week][row] / parts[row])).astype(np.int64)
    seconds = week[row] * 7 * DAY + rng.integers(0, 6, len(row)) * DAY + rng.integers(8 * 3600, 18 * 3600, len(row))
    price = np.exp(rng.normal(0.8, 0.7, products)).clip(0.2, 40.0)
    names, shares = _SALE_COUNTRIES[party]
    cancelled = rng.random(len(row)) < 0.02
    base = 20_000 + 10_000 * WAREHOUSES.index(party)
    return pa.table(
        {
            "stock_code": np.char.mod("%05d", base + code[row]),
            "sold_at": pa.array(FIRST_MONDAY + seconds.astype("timedelta64[s]")),
            "quantity": np.where(cancelled, -quantity, quantity),
            "unit_price": _money((price[code[row]] * rng.choice([1.0, 1.0, 0.9], len(row))).round(2)),
            "country": rng.choice(names, len(row), p=shares),
            "cancelled": cancelled,
        }
    )


def _weekly_units(rng: np.random.Generator, products: int) -> Ints:
    """Units (products x weeks): a level that wanders, and resellers who order every second week."""
    level = rng.normal(3.2, 0.7, (products, 1)) + np.cumsum(rng.normal(0.0, 0.12, (products, WEEKS)), axis=1)
    swing, phase = rng.uniform(0.2, 0.9, (products, 1)), rng.integers(0, 2, (products, 1))
    fortnight = np.where((np.arange(WEEKS) + phase) % 2 == 0, swing, -swing)
    units = rng.poisson(np.exp(np.clip(level + fortnight + rng.normal(0, 0.15, level.shape), 0.0, 7.0)))
    return np.asarray(units, dtype=np.int64)


_FIRM_COUNTRIES = {"p1": ["GB", "US"], "p2": ["DE", "FR", "ES", "NL", "IE"], "p3": ["CN", "SG"]}
_COUNTRIES = np.array(["CN", "DE", "ES", "FR", "GB", "IE", "NL", "SG", "US"])
SHOPS = 300


def _synthetic_payments(rng: np.random.Generator, party: str, count: int) -> pa.Table:
    """Card payments over 120 days with four kinds of fraud, most of them reported some days later."""
    customers = max(20, count // 100)
    home = rng.choice(_FIRM_COUNTRIES[party], customers)
    usual, spends = rng.integers(0, SHOPS, (customers, 6)), rng.normal(3.6, 0.5, customers)
    shop_home = np.random.default_rng(SHOPS).choice(_COUNTRIES, SHOPS)
    who = rng.integers(0, customers, count)
    where = np.where(rng.random(count) < 0.9, usual[who, rng.integers(0, 6, count)], rng.integers(0, SHOPS, count))
    when = rng.integers(0, DAYS, count) * DAY + rng.normal(14 * 3600, 4 * 3600, count).clip(0, DAY - 1).astype(np.int64)
    cents = 100 * np.exp(rng.normal(spends[who], 0.5))
    fraud = _strike(rng, who, where, when, cents)
    burst = _bursts(rng, customers, max(2, count // 2500))
    who, where, when = (np.concatenate(pair) for pair in zip((who, where, when), burst, strict=True))
    cents = np.concatenate([cents, rng.uniform(50, 300, len(burst[0]))])
    fraud = np.concatenate([fraud, np.ones(len(burst[0]), dtype=bool)])
    return _payment_table(rng, party, (who, where, when, cents, fraud), (home, shop_home))


def _strike(rng: np.random.Generator, who: Ints, where: Ints, when: Ints, cents: Floats) -> NDArray[np.bool_]:
    """Turn some payments into fraud, changing `where` and `cents` in place: return which."""
    foreign = rng.random(len(who)) < 0.003
    where[foreign] = rng.integers(0, SHOPS, int(foreign.sum()))
    cents[foreign] *= rng.uniform(4, 12, int(foreign.sum()))
    days = when // DAY
    open_day = np.full(SHOPS, -100)
    open_day[rng.choice(SHOPS, SHOPS // 6, replace=False)] = rng.integers(0, DAYS - 10, SHOPS // 6)
    skimmed = (days >= open_day[where]) & (days < open_day[where] + 21) & (rng.random(len(who)) < 0.12)
    leak_day = np.full(int(who.max()) + 1, -100)
    leaked = rng.random(len(leak_day)) < 0.15
    leak_day[leaked] = rng.integers(0, DAYS - 14, int(leaked.sum()))
    stolen = (days >= leak_day[who]) & (days < leak_day[who] + 14) & (rng.random(len(who)) < 0.35)
    cents[stolen] *= 5
    return np.asarray(foreign | skimmed | stolen)


def _bursts(rng: np.random.Generator, customers: int, count: int) -> tuple[Ints, Ints, Ints]:
    """Card testing: `count` bursts of 8 tiny payments of one customer within half an hour."""
    who, start = rng.integers(0, customers, count), rng.integers(0, DAYS * DAY - 3600, count)
    when = np.repeat(start, 8) + rng.integers(0, 1800, 8 * count)
    return np.repeat(who, 8), rng.integers(0, SHOPS, 8 * count), when


def _payment_table(
    rng: np.random.Generator,
    party: str,
    parts: tuple[Ints, Ints, Ints, Floats, NDArray[np.bool_]],
    homes: tuple[NDArray[np.str_], NDArray[np.str_]],
) -> pa.Table:
    order = np.argsort(parts[2], kind="stable")
    who, where, when = (part[order] for part in parts[:3])
    cents, fraud = parts[3][order], parts[4][order]
    reported = fraud & (rng.random(len(who)) >= 0.05)
    delay = 3600 + rng.exponential(9 * DAY, len(who)).astype(np.int64)
    base = 100_000 * (1 + FIRMS.index(party))
    return pa.table(
        {
            "tx_id": 10 * base + np.arange(len(who)),
            "t_seconds": when,
            "customer_id": base + who,
            "shop_id": where,
            "customer_country": homes[0][who],
            "shop_country": homes[1][where],
            "amount_cents": np.maximum(50, cents).astype(np.int64),
            "fraud": fraud.astype(np.int64),
            "chargeback_t": np.where(reported, when + delay, -1),
        }
    )


def _synthetic_orders(rng: np.random.Generator, folder: Path, counts: Mapping[str, int]) -> None:
    """Write the merchants' orders and, for the same orders, what each customer's payment firm knows."""
    merchants = [_merchant_orders(rng, party, count) for party, count in counts.items()]
    for party, orders in zip(counts, merchants, strict=True):
        _write(folder, party, "orders", orders)
    every = pa.concat_tables(merchants)
    firm = np.searchsorted(
        FIRM_SHARES, buckets("psp", every["customer_id"].cast(pa.string()).to_pylist(), 100), "right"
    )
    paid = _paid(rng, every)
    for number, party in enumerate(FIRMS):
        _write(folder, party, "order_payments", paid.filter(pa.array(firm == number)))


_ORDER_COUNTRIES = {
    "m1": (["United Kingdom", "Channel Islands"], [0.98, 0.02]),
    "m2": (
        ["Germany", "France", "EIRE", "Netherlands", "Spain", "Belgium"],
        [0.3, 0.25, 0.2, 0.1, 0.08, 0.07],
    ),
}


def _merchant_orders(rng: np.random.Generator, party: str, count: int) -> pa.Table:
    lines = rng.geometric(0.06, count).clip(1, 200)
    units = lines * rng.integers(1, 20, count)
    seconds = np.sort(rng.integers(2 * DAY, 342 * DAY, count))
    names, shares = _ORDER_COUNTRIES[party]
    number = 600_000 + 100_000 * MERCHANTS.index(party) + np.arange(count)
    return pa.table(
        {
            "order_id": np.char.mod("%d", number),
            "customer_id": rng.integers(12_346, 12_346 + max(30, count // 4), count),
            "country": rng.choice(names, count, p=shares),
            "order_time": pa.array(FIRST_MONDAY + seconds.astype("timedelta64[s]")),
            "amount_gbp": _money((units * rng.uniform(0.8, 4.0, count)).round(2)),
            "n_lines": lines,
            "n_units": units,
        }
    )


def _paid(rng: np.random.Generator, orders: pa.Table) -> pa.Table:
    amount = orders["amount_gbp"].cast(pa.float64()).to_numpy()
    refunded = rng.random(len(amount)) < 0.16
    share = rng.choice([1.0, 0.5, 0.1], len(amount))
    method = buckets("method", orders["order_id"].to_pylist(), 100)
    return (
        orders.select(["order_id", "customer_id", "order_time", "amount_gbp"])
        .append_column("refund_gbp", _money(np.where(refunded, np.floor(amount * share * 100) / 100, 0.0)))
        .append_column(
            "method",
            pa.array(np.array(["card", "transfer", "wallet"])[np.searchsorted([70, 90], method, "right")]),
        )
        .append_column("chargeback", pa.array((refunded & (rng.random(len(amount)) < 0.12)).astype(np.int64)))
    )


# --- command -----------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables; return the exit code (0 written, 2 bad input with one line on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m examples.datasets", description="Tables for the demo.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write <party>/<table>.parquet to")
    parser.add_argument("--data", type=Path, help="folder of the public data sets; synthetic data without it")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic data")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.data is None:
            make_synthetic(chosen.out, chosen.seed)
        else:
            partition_real(chosen.data, chosen.out)
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
