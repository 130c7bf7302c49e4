"""What goes wrong in deciding: each error says what, where, and what would be right."""


class PolicyError(Exception):
    """Base of this package's errors; `where` names the file, key or certificate, `right` the remedy."""

    def __init__(self, what: str, *, where: str = "", right: str = "") -> None:
        self.what, self.where, self.right = what, where, right
        super().__init__(f"{where}: " * bool(where) + what + f"; {right}" * bool(right))


class InvalidInput(PolicyError):
    """A file, flag, SQL text or job is wrong: its author can mend it."""


class InvalidIdentity(PolicyError):
    """A certificate, SPIFFE ID or signature does not prove who sent this."""


class InvalidPolicy(PolicyError):
    """A policy set cannot be read or validated: nothing is permitted until it can."""
