"""What a worker's apps find in their context: the job's settings and the permitted view of the data."""

import json
from typing import Any

import pyarrow as pa
from flwr.app import Context


def job_settings(context: Context) -> dict[str, Any]:
    """The settings that the agent gave this job's worker."""
    settings: dict[str, Any] = json.loads(str(context.run_config["job"]))
    return settings


def job_view(context: Context) -> pa.Table:
    """The permitted view: an Arrow file that the agent wrote to memory, mapped, not copied; empty where a job
    reads no column.
    """
    if "view" not in context.node_config:
        return pa.table({})
    with pa.memory_map(str(context.node_config["view"]), "r") as source:
        return pa.ipc.open_file(source).read_all()
