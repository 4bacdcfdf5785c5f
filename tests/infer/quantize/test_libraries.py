"""A method whose library is missing is refused before anything is loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from swift.core.errors import ModelError
from swift.core.registry import quantizers
from swift.infer.load import load_infer_run
from swift.infer.quantize.export import export
from swift.infer.quantize.libraries import LIBRARIES, check_library


def test_every_method_says_its_library() -> None:
    ours = {name for name in quantizers.names() if quantizers.distribution(name) == "swift-infer"}
    assert set(LIBRARIES) == ours
    for method in (None, "of_a_plugin", *LIBRARIES):
        check_library(method)


def test_refused_before_the_model_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "compressed_tensors", None
    )  # what Python keeps of a package it must not import
    words = ["model.model_id=./no/such/model", f"export.output_dir={tmp_path / 'x'}", "export.method=gptq"]
    with pytest.raises(ModelError, match=r"'gptq' needs the package compressed-tensors") as refused:
        export(load_infer_run(None, words))
    assert "swift-infer[quant]" in str(refused.value)
    assert not list(tmp_path.iterdir())
