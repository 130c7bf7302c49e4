"""Revisions of the audit log's schema."""
