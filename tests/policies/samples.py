"""One contract, one query and one training, with what the tests vary as arguments."""

from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from policies.contract import DataContract, load_contract
from policies.facts import Membership, Requester
from policies.identity import PeerIdentity, SpiffeId, Standing
from policies.job import JobOrder, JobSpec

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
RESEARCHER = "spiffe://acme.example/user/rosa"
PARTIES = ("p1", "p2", "p3")
SQL = "SELECT country, COUNT(*) AS orders, SUM(amount) AS total FROM orders WHERE amount > 5 GROUP BY country"

CONTRACT = """\
dataset: orders
version: 1
controller: Merchant GmbH
jurisdiction: DE
schema_name: payments/1
source: {kind: parquet, path: orders.parquet}
columns:
  country: {type: text, class: public, uses: [group, filter], domain: [DE, FR, NO]}
  amount: {type: money, class: commercial, uses: [aggregate, filter, feature], bounds: [0, 500.00]}
  customer: {type: text, class: pseudonymous, category: order_ref, uses: [filter, group], domain: [a, b]}
  items: {type: int, class: operational, uses: [aggregate, group, filter], domain: [1, 2], bounds: [0, 9]}
  paid: {type: bool, class: operational, uses: [filter, label, group], domain: [true, false]}
  day: {type: date, class: operational, uses: [filter, group], domain: [2026-01-01, 2026-01-02]}
  seen: {type: datetime, class: operational, uses: [filter]}
  weight: {type: float, class: operational, uses: [aggregate, filter]}
purposes: [dpv:FraudPreventionAndDetection]
recipients: {countries: [DE, FR, NO]}
minimum_group: 5
minimum_parties: 3
law:
  organisation: merchant
  subjects: 100
  residence: [DE]
  recipients: {"*": {recipient_kind: merchant}}
expires: 2036-01-31
"""


def contract(**changes: Any) -> DataContract:
    """The sample contract with top-level keys replaced."""
    data = yaml.safe_load(
        CONTRACT.replace("NO", "'NO'").replace("2026-01-01, 2026-01-02", "'2026-01-01', '2026-01-02'")
    )
    data["expires"] = str(data["expires"])
    return DataContract.model_validate(data | changes)


def plain_contract() -> DataContract:
    return load_contract(CONTRACT, "orders.yaml")


def query_spec(**changes: Any) -> JobSpec:
    base: dict[str, Any] = {
        "kind": "query",
        "name": "totals",
        "purpose": "dpv:FraudPreventionAndDetection",
        "dataset": "orders",
        "sql": SQL,
        "recipients": [{"id": RESEARCHER, "country": "DE"}],
    }
    return JobSpec.model_validate(base | changes)


def train_spec(**changes: Any) -> JobSpec:
    base = {"kind": "train", "sql": None, "recipe": {"name": "fraud", "version": 1}, "rounds": 3}
    return query_spec(**(base | changes))


def order(spec: JobSpec | None = None, **changes: Any) -> JobOrder:
    spec = spec or query_spec()
    start = int(NOW.timestamp()) - 60
    base: dict[str, Any] = {
        "spec": spec,
        "consortium": "acme.example",
        "iss": RESEARCHER,
        "aud": ["consortium"],
        "iat": start,
        "nbf": start,
        "exp": start + 3600,
        "jti": "job-00000001",
        "nonce": "0123456789abcdef",
        "result_key": "ab" * 32,
        "sum_key_digest": "cd" * 32 if spec.key_mode == "holder" and spec.protection == "encrypted" else None,
    }
    return JobOrder.model_validate(base | changes)


def membership(**changes: Any) -> Membership:
    base: dict[str, Any] = {
        "consortium": "acme.example",
        "parties": frozenset(PARTIES),
        "users": frozenset({RESEARCHER}),
    }
    return Membership(**(base | changes))


REQUESTER = Requester(RESEARCHER)


def person(name: str, office: str = "") -> PeerIdentity:
    """A user of acme.example with a certificate that says `office`, or nothing."""
    standing = Standing("shop", office) if office else Standing()
    return PeerIdentity(
        SpiffeId("acme.example", f"/user/{name}"), 1, NOW, NOW + timedelta(hours=8), "ab" * 32, standing
    )
