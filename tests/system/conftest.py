"""One running consortium for each file: three payment firms, a fourth that a test may lose, two researchers.

A file has a consortium to itself because parties remember what they answered: a question that is fine by itself is
refused when it differs by few rows from another file's, and which files share a process is not in a test's hands.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.consortium import Member
from examples.datasets import make_synthetic
from federation.client import Researcher
from tests.system.world import FIRMS, USERS, World, member


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small synthetic tables of every firm."""
    folder = tmp_path_factory.mktemp("tables")
    make_synthetic(folder, seed=7, scale=0.05)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[World]:
    """Coordinator, p1, p2 and p3 run; p4 has joined and rests. The tap is open."""
    root = tmp_path_factory.mktemp("consortium")
    users = [Member(name, "GB", user=True) for name in USERS]
    members = [*users, *(member(name, data) for name in (*FIRMS, "p4"))]
    with World(root, members, {"INBOND_TEST_TAP": str(root / "tap.bin")}) as running:
        running.make()
        running.launch("coordinator")
        for name in FIRMS:
            running.launch(name)
        running.wait_connected()
        yield running


@pytest.fixture
def rosa(world: World) -> Iterator[Researcher]:
    """A researcher, connected; all three firms are there."""
    world.wait_links()
    with world.researcher() as researcher:
        yield researcher
