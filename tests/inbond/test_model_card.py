"""A model's card belongs to its parameters and its purpose, or the file is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from inbond.errors import ConfigError
from inbond.model_card import read_card, watermark

PARAMETERS = np.linspace(-1, 1, 7, dtype=np.float32)
USE = {"job": "job-00000001", "plan": "ab" * 32, "purpose": "dpv:FraudPreventionAndDetection"}


def written(path: Path, parameters: Any = PARAMETERS, **use: str) -> Path:
    card = {"name": "fraud", "use": {**USE, "watermark": watermark(USE, PARAMETERS.tobytes()), **use}}
    save_file({"parameters": parameters}, path, metadata={"card": json.dumps(card)})
    return path


def test_a_card_is_read_with_its_model(tmp_path: Path) -> None:
    assert read_card(written(tmp_path / "m"))["use"]["purpose"] == USE["purpose"]


@pytest.mark.parametrize("use", [{"purpose": "dpv:Marketing"}, {"job": "job-00000002"}, {"plan": "cd" * 32}])
def test_another_purpose_job_or_plan_does_not_fit(tmp_path: Path, use: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="not those that were made under this card"):
        read_card(written(tmp_path / "m", **use))


def test_other_parameters_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not those that were made under this card"):
        read_card(written(tmp_path / "m", PARAMETERS + np.float32(1e-6)))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100])
def test_what_is_no_model_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ConfigError, match="no model with a card"):
        read_card(tmp_path / "m")
    with pytest.raises(ConfigError, match="no model with a card"):
        read_card(tmp_path / "gone")


def test_a_model_without_a_card_is_refused(tmp_path: Path) -> None:
    save_file({"parameters": PARAMETERS}, tmp_path / "m")
    with pytest.raises(ConfigError, match="no model with a card"):
        read_card(tmp_path / "m")
