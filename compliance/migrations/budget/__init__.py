"""Revisions of the budget ledger's schema."""
