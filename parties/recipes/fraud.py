"""Recipe `fraud-score`: the chance that a card payment is fraudulent, from one firm's own history.

Who learns what: see `base`. Customers and shops are looked up inside the firm only; no identifier leaves it.
Relies on `chargeback_t` being the second at which a fraud was reported (-1 = never): a payment at time t sees
only payments up to t and chargebacks reported before t, and never the label of the past.

31 features, after the windowed counts and means of Le Borgne et al. (Reproducible Machine Learning for
Credit Card Fraud Detection, ULB 2022, chapter 3): amount, log amount, hour as sine and cosine, night,
weekend, shop abroad; per customer in 1 hour, 1, 7 and 30 days the count, the mean amount and this amount over
it; per shop in 1, 7 and 30 days the count, how many of these were already charged back, and their ratio; the
same of the customer's payments in 7 and 30 days; first visit of this customer to this shop in 60 days.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

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
from parties.recipes.scores import AP_LENGTH, score_metrics, score_statistics
from parties.recipes.shape import Rows, model_length
from policies.contract import CENTS, ColumnType, Use

Column = NDArray[np.generic]

HOUR, DAY = 3600, 86400
FEATURES = 31
NIGHT_ENDS = 6
CUSTOMER_WINDOWS = (HOUR, DAY, 7 * DAY, 30 * DAY)
SHOP_WINDOWS = (DAY, 7 * DAY, 30 * DAY)
CHARGEBACK_WINDOWS = (7 * DAY, 30 * DAY)
VISIT_WINDOW = 60 * DAY
EPSILON = 1e-6  # keeps the logarithm of a zero ratio finite
LAST_DAY = 10_000  # about 27 years: bounds the seconds, so that (key, time) fits into one int64
SPAN = 2**31  # over LAST_DAY days and any window: packed times of different keys stay apart
AMOUNT_RATIO = 18  # column of the amount over the customer's 30-day mean, the rule of thumb to beat


class FraudParameters(Parameters):
    """Hyper-parameters and the joint calendar; days count from second 0, all bounds inclusive.

    Attributes:
        train_from, train_to: days of the training payments.
        test_from, test_to: days of the test payments; the gap before them lets chargebacks arrive.
    """

    batch: int = Field(default=512, ge=8, le=65536)
    solo_epochs: int = Field(default=8, ge=1, le=100)
    train_from: int = Field(default=30, ge=0, le=LAST_DAY)
    train_to: int = Field(default=79, ge=0, le=LAST_DAY)
    test_from: int = Field(default=87, ge=0, le=LAST_DAY)
    test_to: int = Field(default=119, ge=0, le=LAST_DAY)

    @model_validator(mode="after")
    def _in_order(self) -> "FraudParameters":
        if not self.train_from <= self.train_to < self.test_from <= self.test_to:
            raise ValueError("the days are not in order; train_from <= train_to < test_from <= test_to")
        return self


@dataclass(frozen=True)
class Timeline:
    """Payments by key (customer, shop or both), sorted by key and time through one packed integer each."""

    keys: Int64s
    times: Int64s
    order: Int64s
    packed: Int64s

    @classmethod
    def of(cls, keys: Int64s, times: Int64s) -> "Timeline":
        """Return the timeline of payments with `keys` (dense, from 0) at `times` (seconds, from 0)."""
        packed = keys * SPAN + times
        order = np.argsort(packed, kind="stable")
        return cls(keys, times, order, packed[order])

    def recent(self, window: int, cents: Int64s) -> tuple[Int64s, Int64s]:
        """Return, per payment, count and sum of `cents` of its key in (t - window, t], itself included."""
        at = self.keys * SPAN + self.times
        low, high = (np.searchsorted(self.packed, bound, side="right") for bound in (at - window, at))
        running = np.concatenate([[0], np.cumsum(cents[self.order])])
        return high - low, running[high] - running[low]

    def reported(self, window: int, chargeback: Int64s) -> Int64s:
        """Return, per payment, how many payments of its key in (t - window, t] were charged back before t.

        One charged-back payment counts for those that follow its report until it leaves the window: an
        interval of the sorted timeline, so all counts are one cumulative sum of interval ends.
        """
        known = (chargeback >= 0) & (chargeback < self.times + window)
        base = self.keys[known] * SPAN
        start = np.searchsorted(self.packed, base + chargeback[known], side="right")
        stop = np.searchsorted(self.packed, base + self.times[known] + window, side="left")
        size = len(self.packed) + 1
        steps = np.bincount(start, minlength=size) - np.bincount(np.maximum(stop, start), minlength=size)
        counts = np.empty(size - 1, dtype=np.int64)
        counts[self.order] = np.cumsum(steps)[:-1]
        return counts


def payment_features(payments: pa.Table) -> Float64s:
    """Return the features (rows x 31) of `payments`, in its order; any order of rows is understood."""
    data = {name: payments[name].to_numpy().astype(np.int64) for name in _NUMBERS}
    times, cents, chargeback = data["t_seconds"], data["amount_cents"], data["chargeback_t"]
    _refuse_times(times, chargeback)
    customer, shop = (np.unique(data[name], return_inverse=True)[1] for name in ("customer_id", "shop_id"))
    pair = np.unique(customer * (shop.max(initial=0) + 1) + shop, return_inverse=True)[1]
    by_customer, by_shop, by_pair = (Timeline.of(keys, times) for keys in (customer, shop, pair))
    abroad = pc.not_equal(payments["customer_country"], payments["shop_country"]).to_numpy()
    columns = [
        *_of_the_payment(times, cents / CENTS, abroad),
        *_of_the_customer(by_customer, cents),
        *_of_the_shop(by_shop, cents, chargeback),
        *(by_customer.reported(window, chargeback) for window in CHARGEBACK_WINDOWS),
        by_pair.recent(VISIT_WINDOW, cents)[0] == 1,
    ]
    return np.column_stack(columns)


def _refuse_times(times: Int64s, chargeback: Int64s) -> None:
    last = LAST_DAY * DAY
    if len(times) and (times.min() < 0 or max(times.max(), chargeback.max()) > last):
        raise RecipeError(
            "a time is out of range", where="column t_seconds or chargeback_t", right=f"0 .. {last} seconds"
        )
    if np.any((chargeback >= 0) & (chargeback < times)):
        raise RecipeError(
            "a chargeback precedes its payment",
            where="column chargeback_t",
            right="-1 if it was never reported",
        )


def _of_the_payment(times: Int64s, amount: Float64s, abroad: Column) -> list[Column]:
    hour = times % DAY / HOUR
    angle = 2 * np.pi * hour / 24
    weekend = times // DAY % 7 >= 5
    return [
        amount,
        np.log1p(np.maximum(amount, 0)),
        np.sin(angle),
        np.cos(angle),
        hour < NIGHT_ENDS,
        weekend,
        abroad,
    ]


def _of_the_customer(customer: Timeline, cents: Int64s) -> list[Column]:
    columns: list[Column] = []
    for window in CUSTOMER_WINDOWS:
        count, total = customer.recent(window, cents)
        mean = total / count
        columns += [count, mean / CENTS, np.divide(cents, mean, out=np.ones_like(mean), where=mean > 0)]
    return columns


def _of_the_shop(shop: Timeline, cents: Int64s, chargeback: Int64s) -> list[Column]:
    columns: list[Column] = []
    for window in SHOP_WINDOWS:
        count, reported = shop.recent(window, cents)[0], shop.reported(window, chargeback)
        columns += [count, reported, reported / count]
    return columns


class FraudScore(Recipe[FraudParameters]):
    """Fraud score per payment, cross-entropy, measured by average precision (AUPRC)."""

    name = "fraud-score"
    version = "1"
    parameters = FraudParameters
    baselines = ("naive", "local")
    requires = ("torch",)
    columns = (
        ColumnNeed("t_seconds", ColumnType.INT, Use.FEATURE),
        ColumnNeed("customer_id", ColumnType.INT, Use.FEATURE),
        ColumnNeed("shop_id", ColumnType.INT, Use.FEATURE),
        ColumnNeed("customer_country", ColumnType.TEXT, Use.FEATURE),
        ColumnNeed("shop_country", ColumnType.TEXT, Use.FEATURE),
        ColumnNeed("amount_cents", ColumnType.INT, Use.FEATURE),
        ColumnNeed("chargeback_t", ColumnType.INT, Use.FEATURE),
        ColumnNeed("fraud", ColumnType.INT, Use.LABEL),
    )

    def model_size(self, parameters: FraudParameters) -> int:  # noqa: ARG002  the same for all parameters
        """Return the length of the flat 31-64-32-1 model."""
        return model_length(FEATURES)

    def statistics(self, parameters: FraudParameters) -> tuple[int, int]:  # noqa: ARG002  as above
        """Return the lengths of the census and of one block of metric statistics."""
        return 1 + 2 * FEATURES, AP_LENGTH

    def bind(self, view: pa.Table, parameters: FraudParameters, seed: int) -> LocalTask:
        """Return the task over one firm's `view`. Raises RecipeError."""
        payments = needed_columns(view, self.columns, self.name)
        features, day = payment_features(payments), payments["t_seconds"].to_numpy() // DAY
        labels = payments["fraud"].to_numpy()
        if not np.isin(labels, (0, 1)).all():
            raise RecipeError("a label is neither 0 nor 1", where="column fraud", right="0 or 1")
        train = (day >= parameters.train_from) & (day <= parameters.train_to)
        test = (day >= parameters.test_from) & (day <= parameters.test_to)
        tested = Rows.cut(features[test], labels[test])
        risk = np.log(np.maximum(features[test, AMOUNT_RATIO], EPSILON))
        from parties.recipes.mlp import MlpTask  # noqa: PLC0415 - torch is for the worker that trains, not for the agent

        return MlpTask(
            train=Rows.cut(features[train], labels[train]),
            test=tested,
            loss="logistic",
            parameters=parameters,
            seed=seed,
            measure=lambda outputs: score_statistics(outputs, tested.targets),
            naive=score_statistics(risk.astype(np.float32), tested.targets),
        )

    def metrics(self, totals: Int64s) -> dict[str, float]:
        """Return `auprc`, `loss`, `rows` and `positives` from summed statistics. Raises RecipeError."""
        return score_metrics(totals)


_NUMBERS = ("t_seconds", "customer_id", "shop_id", "amount_cents", "chargeback_t")
recipe = FraudScore()
