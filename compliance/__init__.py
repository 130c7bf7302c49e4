"""Evidence and duties: the Merkle log and its checker, the budget ledger; later witnesses, consents, reports."""
