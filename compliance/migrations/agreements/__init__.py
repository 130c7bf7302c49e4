"""Revisions of the schema of data-sharing agreements."""
