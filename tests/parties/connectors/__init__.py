"""Connectors against their engines."""
