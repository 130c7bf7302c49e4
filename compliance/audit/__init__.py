"""The audit log of a node: what an entry says, how it is kept, exported and independently verified."""

from compliance.audit.entry import Entry, EntryType, commitment
from compliance.audit.export import export
from compliance.audit.log import AuditLog
from compliance.audit.verify import Report, verify

__all__ = ["AuditLog", "Entry", "EntryType", "Report", "commitment", "export", "verify"]
