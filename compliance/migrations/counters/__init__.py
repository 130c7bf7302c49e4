"""Revisions of the schema of the counters and of the clocks of breaches."""
