"""Recipe `demand-forecast`: weekly units of each product of a warehouse, one week ahead.

Who learns what: see `base`. A series (a stock code, or a stock code in a region) never leaves its warehouse.
Relies on all parties using the calendar in the parameters, not their own dates.

26 features per series and week t, all known at the end of week t-1: log1p of lags 1-8; log1p of lags 1-4 of
the stock code over all regions; log1p of the 4-week mean, 8-week mean and 8-week maximum; share of non-zero
weeks of 8; weeks since the last sale over 8; log of the median price before the test weeks; region one-hot
(8, other = 0). Target: log1p of the units of week t. The rule of thumb is the median of the last 4 weeks,
the hardest simple forecast to beat for sparse weekly demand.
"""

from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from parties.recipes.base import (
    ColumnNeed,
    Float64s,
    Int64s,
    LocalTask,
    Parameters,
    Recipe,
    RecipeError,
    needed_columns,
)
from parties.recipes.scores import WAPE_LENGTH, wape_metrics, wape_statistics
from parties.recipes.shape import Rows, model_length
from policies.contract import ColumnType, Use

HISTORY = 8  # weeks behind a forecast
CODE_LAGS = 4
NAIVE_WEEKS = 4
FEATURES = 26
MAX_LINE_UNITS = 10_000  # larger lines of a retail log are typing errors or wholesale bookings
CEILING = 2.0  # a forecast is cut at twice the largest week of the own training
REGIONS = {
    "United Kingdom": 1,
    "Germany": 2,
    "France": 3,
    "EIRE": 4,
    "Spain": 5,
    "Netherlands": 6,
    "Belgium": 7,
    "Switzerland": 8,
}  # names as in Online Retail (Chen 2015, doi 10.24432/C5BW33); every other country is region 0


class DemandParameters(Parameters):
    """Hyper-parameters and the joint calendar.

    Attributes:
        first_week: first day of week 0.
        train_weeks: weeks 0 .. train_weeks-1 are history and training targets.
        test_weeks: the weeks after them, forecast one week ahead.
        by_region: series are stock code x region instead of stock code.
        series_per_party: the best sellers of the training weeks that each party takes; none = all.
        minimum_weeks: a series was sold in at least so many training weeks.
    """

    first_week: date = date(2010, 11, 29)
    train_weeks: int = Field(default=43, gt=HISTORY, le=520)
    test_weeks: int = Field(default=6, ge=1, le=104)
    by_region: bool = False
    series_per_party: int | None = Field(default=167, ge=1, le=100_000)
    minimum_weeks: int = Field(default=13, ge=1, le=520)


@dataclass(frozen=True)
class Panel:
    """Units sold: `series` and `code` (s x weeks; the series, and its stock code over all regions).

    `price` (s,) is the median unit price of the training weeks, `region` (s,) the region's number.
    """

    series: Float64s
    code: Float64s
    price: Float64s
    region: Int64s


_LINES = """
create temp table lines as
select stock_code, case when $by_region then coalesce(region, 0) else 0 end as region,
       date_diff('day', $first_week::date, sold_at::date) // 7 as week, quantity, unit_price::double as price
from view left join regions using (country)
where not cancelled and regexp_full_match(stock_code, '[0-9]{5}[A-Za-z]*')
  and quantity between 1 and $max_units and unit_price > 0
  and sold_at::date >= $first_week::date and sold_at::date < $end::date
"""
_SERIES = """
create temp table series as
select row_number() over (order by stock_code, region) - 1 as row, stock_code, region, price
from (select stock_code, region, median(price) filter (week < $train) as price,
             count(distinct week) filter (week < $train) as weeks,
             coalesce(sum(quantity) filter (week < $train), 0) as units
      from lines group by stock_code, region
      having weeks >= $minimum
      order by units desc, stock_code, region limit $top)
"""
_UNITS = """
select row, week, sum(quantity)::double as units
from series join lines using (stock_code, region) group by row, week
"""
_CODE_UNITS = """
select row, week, sum(quantity)::double as units
from series join lines using (stock_code) group by row, week
"""


def build_panel(view: pa.Table, parameters: DemandParameters) -> Panel:
    """Return the weekly panel of one warehouse's `view`. Raises RecipeError for wrong columns."""
    sales = needed_columns(view, DemandForecast.columns, "demand-forecast")
    weeks = parameters.train_weeks + parameters.test_weeks
    with duckdb.connect(config={"threads": "1", "enable_external_access": "false"}) as base:
        base.register("view", sales)
        base.register("regions", pa.table({"country": list(REGIONS), "region": list(REGIONS.values())}))
        base.execute(_LINES, _calendar(parameters))
        base.execute(_SERIES, _selection(parameters))
        series = base.execute("select price, region from series order by row").fetchnumpy()
        rows = len(series["price"])
        units, code_units = (_weekly(base, sql, rows, weeks) for sql in (_UNITS, _CODE_UNITS))
    return Panel(units, code_units, series["price"], series["region"])


def _calendar(parameters: DemandParameters) -> dict[str, object]:
    first = parameters.first_week
    days = 7 * (parameters.train_weeks + parameters.test_weeks)
    try:
        end = date.fromordinal(first.toordinal() + days)
    except ValueError as error:
        raise RecipeError("the weeks end after year 9999", where="first_week", right="a date of the data") from error
    return {"by_region": parameters.by_region, "first_week": first, "end": end, "max_units": MAX_LINE_UNITS}


def _selection(parameters: DemandParameters) -> dict[str, object]:
    top = parameters.series_per_party or 2**31
    return {"train": parameters.train_weeks, "minimum": parameters.minimum_weeks, "top": top}


def _weekly(base: duckdb.DuckDBPyConnection, sql: str, rows: int, weeks: int) -> Float64s:
    found = base.execute(sql).fetchnumpy()
    panel = np.zeros((rows, weeks))
    panel[found["row"], found["week"]] = found["units"]
    return panel


def weekly_features(panel: Panel, first: int, last: int) -> Float64s:
    """Return features (s x weeks x 26) of target weeks `first` .. `last`-1; `first` is at least 8."""
    past, code_past = (sliding_window_view(units, HISTORY, axis=1) for units in (panel.series, panel.code))
    chosen = slice(first - HISTORY, last - HISTORY)
    lags, code_lags = past[:, chosen, ::-1], code_past[:, chosen, ::-1][..., :CODE_LAGS]
    sold = lags > 0
    idle = np.where(sold.any(axis=2), sold.argmax(axis=2), HISTORY) / HISTORY
    summary = [
        np.log1p(lags[..., :4].mean(axis=2)),
        np.log1p(lags.mean(axis=2)),
        np.log1p(lags.max(axis=2)),
        sold.mean(axis=2),
        idle,
    ]
    fixed = np.column_stack([np.log(panel.price), np.eye(len(REGIONS) + 1)[panel.region][:, 1:]])
    repeated = np.broadcast_to(fixed[:, None, :], (*idle.shape, fixed.shape[1]))
    return np.concatenate([np.log1p(lags), np.log1p(code_lags), np.stack(summary, axis=2), repeated], axis=2)


def _rows(panel: Panel, first: int, last: int) -> Rows:
    features = weekly_features(panel, first, last)
    return Rows.cut(features.reshape(-1, FEATURES), np.log1p(panel.series[:, first:last]).ravel())


def _naive_forecast(panel: Panel, first: int, last: int) -> Float64s:
    past = sliding_window_view(panel.series, NAIVE_WEEKS, axis=1)[:, first - NAIVE_WEEKS : last - NAIVE_WEEKS]
    return np.asarray(np.median(past, axis=2).ravel(), dtype=np.float64)


def _log_statistics(outputs: Float64s, actual: Float64s, ceiling: float) -> Int64s:
    bounded = np.clip(outputs, 0.0, np.log1p(ceiling))
    loss = float(np.abs(bounded - np.log1p(actual)).sum())
    return wape_statistics(np.expm1(bounded), actual, loss)


class DemandForecast(Recipe[DemandParameters]):
    """Weekly demand per product, absolute loss on log1p units, measured by WAPE."""

    name = "demand-forecast"
    version = "1"
    parameters = DemandParameters
    baselines = ("naive", "local")
    requires = ("torch",)
    columns = (
        ColumnNeed("stock_code", ColumnType.TEXT, Use.FEATURE),
        ColumnNeed("sold_at", ColumnType.DATETIME, Use.FEATURE),
        ColumnNeed("quantity", ColumnType.INT, Use.LABEL),
        ColumnNeed("unit_price", ColumnType.MONEY, Use.FEATURE),
        ColumnNeed("country", ColumnType.TEXT, Use.FEATURE),
        ColumnNeed("cancelled", ColumnType.BOOL, Use.FEATURE),
    )

    def model_size(self, parameters: DemandParameters) -> int:  # noqa: ARG002  the same for all parameters
        """Return the length of the flat 26-64-32-1 model."""
        return model_length(FEATURES)

    def statistics(self, parameters: DemandParameters) -> tuple[int, int]:  # noqa: ARG002  as above
        """Return the lengths of the census and of one block of metric statistics."""
        return 1 + 2 * FEATURES, WAPE_LENGTH

    def bind(self, view: pa.Table, parameters: DemandParameters, seed: int) -> LocalTask:
        """Return the task over one warehouse's `view`. Raises RecipeError."""
        panel = build_panel(view, parameters)
        split, end = parameters.train_weeks, parameters.train_weeks + parameters.test_weeks
        actual = panel.series[:, split:end].ravel()
        ceiling = CEILING * float(panel.series[:, :split].max(initial=0.0))
        from parties.recipes.mlp import MlpTask  # noqa: PLC0415 - torch is for the worker that trains, not for the agent

        return MlpTask(
            train=_rows(panel, HISTORY, split),
            test=_rows(panel, split, end),
            loss="absolute",
            parameters=parameters,
            seed=seed,
            measure=lambda outputs: _log_statistics(outputs.astype(np.float64), actual, ceiling),
            naive=_log_statistics(np.log1p(_naive_forecast(panel, split, end)), actual, ceiling),
        )

    def metrics(self, totals: Int64s) -> dict[str, float]:
        """Return `wape`, `loss` and `rows` from summed statistics. Raises RecipeError."""
        return wape_metrics(totals)


recipe = DemandForecast()
