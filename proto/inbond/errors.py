"""What goes wrong in a node's own machinery: configuration, keys, connections, processes."""

from compliance.errors import ComplianceError
from policies.errors import PolicyError
from protocols.errors import ProtocolError


class InbondError(Exception):
    """Base; `where` names the file, flag, address or process, `right` the remedy; `exit_code` for the shell."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", right: str = "") -> None:
        self.what, self.where, self.right = what, where, right
        super().__init__(f"{where}: " * bool(where) + what + f"; {right}" * bool(right))


class ConfigError(InbondError):
    """A configuration file, key or variable is wrong."""


class Refused(InbondError):
    """A policy, or the other node's authorisation, says no."""

    exit_code = 3


class Unreachable(InbondError):
    """The other node does not answer, or the connection broke."""

    exit_code = 4


class JobFailed(InbondError):
    """The job ended without a result."""

    exit_code = 6


Errors = (InbondError, PolicyError, ProtocolError, ComplianceError)
"""What any of our packages raises on purpose: its words may be shown to the owner of the node."""
