"""What goes wrong with evidence and budgets."""


class ComplianceError(Exception):
    """Base of this package's errors; `where` names the log, ledger or file, `right` the remedy."""

    def __init__(self, what: str, *, where: str = "", right: str = "") -> None:
        self.what, self.where, self.right = what, where, right
        super().__init__(f"{where}: " * bool(where) + what + f"; {right}" * bool(right))


class LogUnavailable(ComplianceError):
    """The log cannot take an entry (full disk, missing file): the step that needed it must not happen."""


class LogTampered(ComplianceError):
    """The log, or an export of it, does not match its signed checkpoint; `index` is the first bad entry."""

    def __init__(self, what: str, *, where: str = "", right: str = "", index: int | None = None) -> None:
        super().__init__(what, where=where, right=right)
        self.index = index


class BudgetExceeded(ComplianceError):
    """The dataset's privacy budget does not cover this release."""


class InvalidEntry(ComplianceError):
    """An audit entry, or a request for one, is malformed: its author can mend it."""


class InvalidNote(ComplianceError):
    """A signed note, verifier key or checkpoint is malformed, or a known key's signature on it fails."""


class InvalidProof(ComplianceError):
    """A Merkle proof does not show what it claims: its sender is at fault."""


class LedgerUnavailable(ComplianceError):
    """The budget ledger cannot record a charge (full disk, missing file): nothing may be released."""


class InvalidBudget(ComplianceError):
    """A budget, charge or reservation is malformed or unknown: its author can mend it."""


class ExportFailed(ComplianceError):
    """A log could not be exported: nothing signed yet, or the file cannot be written."""


class LawStoreUnavailable(ComplianceError):
    """Records of evidence cannot be read or kept (full disk, missing file): nothing may rest on them."""


class NotAgreed(ComplianceError):
    """No agreement between these parties covers what was asked, or it is used up or revoked."""


class InvalidLawEntry(ComplianceError):
    """A record of evidence is unknown, or was ended: its author can mend it."""
