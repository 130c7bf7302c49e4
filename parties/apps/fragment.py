"""The worker's half of a joint query, as a Flower ClientApp: run this party's fragment over the permitted view.

It learns its own rows and its own group values, returned as exact integers to this party's own agent; it holds no
key, no policy and no network.
"""

import json

import duckdb
import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from inbond.records import vectors
from parties.apps.view import job_settings, job_view
from policies.contract import read_published
from policies.sql import fragment, parse_query

app = ClientApp()


@app.query("fragment")
def answer(message: Message, context: Context) -> Message:
    """Groups x columns of int64, row-major, in the plan's canonical order of groups; absent groups are zero."""
    config = job_settings(context)
    contract = read_published(json.dumps(config["contract"]), "contract")
    piece = fragment(parse_query(config["sql"]), contract, noised=bool(config["noised"]))
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        connection.register("source", job_view(context))
        rows = connection.execute(piece.sql, piece.parameters).fetchall()
    return Message(vectors(exact=np.array(piece.align(rows), np.int64).reshape(-1)), reply_to=message)
