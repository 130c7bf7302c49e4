"""Tests against other people's servers, where these are not installed: left out, and said so at the end of the run.

`.ci/run` asks for all of them (INBOND_TEST_SERVERS=required); a test then fails that cannot run.
"""

import os
from typing import NoReturn

import pytest

VARIABLE = "INBOND_TEST_SERVERS"


class NotInstalled(Exception):
    """A server is not there; the text says which, and what installs it."""


def left_out(error: NotInstalled) -> NoReturn:
    """End the test that needs the server: skipped with the reason, or failed where all are asked for."""
    if os.environ.get(VARIABLE) == "required":
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))
