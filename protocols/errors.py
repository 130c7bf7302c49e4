"""What goes wrong in a protocol, by whose fault it is.

A `PeerViolation` is never sent back to the peer in words: it would make us an oracle.
"""


class ProtocolError(Exception):
    """Base; raised only as one of its two faces."""

    def __init__(self, what: str, *, where: str = "", right: str = "") -> None:
        self.what, self.where, self.right = what, where, right
        super().__init__(f"{where}: " * bool(where) + what + f"; {right}" * bool(right))


class PeerViolation(ProtocolError):
    """The other side sent something that the protocol does not allow."""


class MisuseError(ProtocolError):
    """Our own code called a step out of order or with impossible values."""
