"""Metrics from sums: WAPE of a forecast, average precision of a score, each from additive integers.

Who learns what: after the exact sum everybody learns the joint error and volume of the forecast, or the joint
histogram of the scores of positives and negatives (512 cells of the logit). A cell may hold a single row of
some party; it shows that row's rounded score and label, not whose it is nor anything else of it.
"""

import numpy as np

from parties.recipes.base import (
    Float32s,
    Float64s,
    Int64s,
    RecipeError,
    check_statistics,
    from_fixed,
    to_fixed,
)

WAPE_LENGTH = 4  # rows, sum of |error|, sum of actual, sum of loss
CELLS = 512  # 1/16 of a logit unit each: average precision within 0.005 of the exact one, see the tests
LOGIT_LIMIT = 16.0  # e^-16 is 1e-7: scores beyond are as good as certain and share the last cell
AP_LENGTH = 2 + 2 * CELLS  # rows, sum of loss, histogram of positives, histogram of negatives


def wape_statistics(forecast: Float64s, actual: Float64s, loss: float) -> Int64s:
    """Return the sums behind WAPE for `forecast` and `actual` (n,), in units of the goods; length 4."""
    sums = to_fixed(np.array([np.abs(forecast - actual).sum(), actual.sum(), loss]))
    return np.concatenate([np.array([len(actual)], dtype=np.int64), sums])


def wape_metrics(totals: Int64s) -> dict[str, float]:
    """Return `rows`, mean `loss`, and `wape` (sum of |error| over sum of actual), as far as they are defined.

    Raises RecipeError when `totals` is not such a sum.
    """
    totals = check_statistics(totals, WAPE_LENGTH, "forecast statistics")
    error, actual, loss = (float(value) for value in from_fixed(totals[1:]))
    rows = float(totals[0])
    wape = {"wape": error / actual} if actual > 0 else {}
    return wape | _mean_loss(loss, rows)


def _mean_loss(loss: float, rows: float) -> dict[str, float]:
    return {"loss": loss / rows, "rows": rows} if rows > 0 else {"rows": rows}


def score_statistics(logits: Float32s, labels: Float32s) -> Int64s:
    """Return the sums behind average precision for `logits` and 0/1 `labels` (n,); length 2 + 2 x 512."""
    wide, positive = logits.astype(np.float64), labels > 0.5
    loss = np.logaddexp(0.0, np.where(positive, -wide, wide)).sum()
    width = 2 * LOGIT_LIMIT / CELLS
    cell = np.clip((wide + LOGIT_LIMIT) / width, 0, CELLS - 1).astype(np.int64)
    histograms = np.bincount(cell + CELLS * ~positive, minlength=2 * CELLS)
    head = np.concatenate([np.array([len(labels)], dtype=np.int64), to_fixed(np.array([loss]))])
    return np.concatenate([head, histograms.astype(np.int64)])


def score_metrics(totals: Int64s) -> dict[str, float]:
    """Return `rows`, `positives`, mean `loss` and `auprc` (average precision, cells as ties), where defined.

    AP = sum over thresholds, highest first, of (recall step) x precision, without the interpolation that
    flatters (Davis and Goadrich, ICML 2006). Raises RecipeError when `totals` is not such a sum.
    """
    totals = check_statistics(totals, AP_LENGTH, "score statistics")
    if np.any(totals[2:] < 0) or int(totals[2:].sum()) != int(totals[0]):
        raise RecipeError(
            "the histograms do not count the rows", where="score statistics", right="counts of at least 0"
        )
    positives, negatives = totals[2 : 2 + CELLS][::-1], totals[2 + CELLS :][::-1]
    found = int(positives.sum())
    precision = np.cumsum(positives) / np.maximum(np.cumsum(positives + negatives), 1)
    auprc = {"auprc": float((positives * precision).sum() / found)} if found else {}
    loss = float(from_fixed(totals[1:2])[0])
    return auprc | _mean_loss(loss, float(totals[0])) | {"positives": float(found)}
