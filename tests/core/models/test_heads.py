"""Models that end in a classification head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swift.core.config.schema import ModelConfig
from swift.core.errors import ModelError
from swift.core.models.load import load_model, load_processor, save_model
from swift.core.types import Head


def test_classifier_is_not_asked_to_write_text(tmp_path: Path) -> None:
    config = ModelConfig(model_id="tiny/qwen3")
    classifier = load_model(
        config, dtype=torch.float32, device="cpu", seed=1, options={}, head=Head("classification", 3)
    )
    save_model(classifier, load_processor(config), tmp_path / "saved")
    saved = ModelConfig(model_id=str(tmp_path / "saved"))
    with pytest.raises(ModelError, match="is a classifier"):
        load_model(saved, dtype=torch.float32, device="cpu", seed=1, options={})
    load_model(saved, dtype=torch.float32, device="cpu", seed=1, options={}, head=Head("classification", 3))
