"""What the API calls the model."""

from __future__ import annotations

import pytest

from swift.infer.load import load_infer_run, served_name

REMOTE = ["infer.engine=remote", "infer.base_url=http://127.0.0.1:9/v1"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["model.model_id=tiny/llama"], "llama"),
        (["model.model_id=tiny/llama", "infer.served_model_name=mine"], "mine"),
        ([*REMOTE, "infer.model=theirs"], "theirs"),
        ([*REMOTE, "infer.model=theirs", "model.model_id=tiny/llama"], "theirs"),
        ([*REMOTE, "infer.model=theirs", "infer.served_model_name=mine"], "mine"),
        ([*REMOTE, "model.model_id=tiny/llama"], "llama"),
    ],
)
def test_a_model_elsewhere_is_called_as_it_is_asked_for(words: list[str], name: str) -> None:
    assert served_name(load_infer_run(None, words)) == name
