"""The coordinator and the researcher's side: control, hub, runner, planner, strategies, commands. No row data."""
