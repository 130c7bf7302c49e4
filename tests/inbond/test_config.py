"""One file per node: what is wrong is named by key or variable, and nothing is overwritten or half-written."""

from pathlib import Path

import pytest

from inbond import config
from inbond.config import AddressSection, NodeConfig, NodeSection
from inbond.errors import ConfigError

GOOD = '[node]\nrole = "party"\nname = "p1"\nconsortium = "acme.example"\ncountry = "DE"\n'
NODE = NodeSection(role="party", name="p1", consortium="acme.example", country="DE")


def test_a_file_with_only_the_node_has_all_defaults() -> None:
    found = config.parse(GOOD, where="x.toml")
    assert (found.node.name, found.limits.step_seconds, found.life.rejoin_seconds) == ("p1", 600, 120)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "key node is missing"),
        ("[node", "is not TOML"),
        (GOOD.replace("p1", "P 1"), "key node.name is wrong"),
        (GOOD.replace('country = "DE"\n', ""), "key node.country is missing"),
        (GOOD + "[limits]\nstep_seconds = 1\n", "key limits.step_seconds is wrong"),
        (GOOD + "[limits]\nstep_secs = 10\n", "key limits.step_secs is unknown"),
        (GOOD + "[limit]\nx = 1\n", "key limit is unknown"),
        ("limits = 3\n" + GOOD, "key limits is wrong"),
        (GOOD + '[keys]\nunlock = "none"\n', "key keys.unlock is wrong"),
        (GOOD + '[life]\nheartbeat_seconds = "' + "x" * 5000 + '"\n', "key life.heartbeat_seconds is wrong"),
    ],
)
def test_what_is_wrong_is_one_short_line_that_names_file_and_key(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, where="x.toml")
    line = str(caught.value)
    assert line.startswith(f"x.toml: {told}")
    assert caught.value.right
    assert "\n" not in line
    assert len(line) < 400


def test_a_variable_overrides_one_key() -> None:
    found = config.parse(GOOD, where="x", environ={"INBOND_LIMITS_STEP_SECONDS": "7", "INBOND_HOME": "/x"})
    assert (found.limits.step_seconds, found.limits.jobs_at_once) == (7, 8)


def test_a_wrong_variable_is_named_itself() -> None:
    with pytest.raises(ConfigError, match="INBOND_LIMITS_STEP_SECONDS: variable is wrong"):
        config.parse(GOOD, where="x.toml", environ={"INBOND_LIMITS_STEP_SECONDS": "soon"})


def test_a_section_that_is_no_table_is_told_also_under_a_variable() -> None:
    with pytest.raises(ConfigError, match="key limits is wrong"):
        config.parse("limits = 3\n" + GOOD, where="x.toml", environ={"INBOND_LIMITS_STEP_SECONDS": "7"})


def test_what_is_saved_is_loaded_and_never_overwritten(tmp_path: Path) -> None:
    made = NodeConfig(node=NODE, address=AddressSection(coordinator="hub:1", authority="", listen=""))
    config.save(made, tmp_path / "home")
    assert config.load(tmp_path / "home", {}) == made
    with pytest.raises(ConfigError, match="a node is already here"):
        config.save(made, tmp_path / "home")


def test_a_change_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    config.save(NodeConfig(node=NODE), tmp_path)
    before = (tmp_path / config.FILE).read_bytes()
    (tmp_path / f"{config.FILE}.part").mkdir()  # the place of the new file is taken
    with pytest.raises(ConfigError, match="cannot be changed"):
        config.replace(NodeConfig(node=NODE.model_copy(update={"country": "GB"})), tmp_path)
    assert (tmp_path / config.FILE).read_bytes() == before
