"""Short names of models."""

import pytest

from swift.core.models.names import MODELS, ModelName, names, resolve


@pytest.mark.parametrize(
    ("name", "huggingface", "modelscope"),
    [
        (
            "llama-3-8b-instruct",
            "meta-llama/Meta-Llama-3-8B-Instruct",
            "LLM-Research/Meta-Llama-3-8B-Instruct",
        ),
        ("qwen/Qwen-7B-Chat", "Qwen/Qwen-7B-Chat", "Qwen/Qwen-7B-Chat"),
        ("Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("QWEN3-30B-A3B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B"),
        ("google/gemma-2-2b-it", "google/gemma-2-2b-it", "LLM-Research/gemma-2-2b-it"),
        ("someone/Some-Model", "someone/Some-Model", "someone/Some-Model"),
    ],
)
def test_resolve(name, huggingface, modelscope):
    assert resolve(name) == ModelName(huggingface, modelscope)


def test_the_table_is_consistent():
    assert names() == sorted(MODELS)
    assert all(name == name.lower() for name in MODELS)
    ids = [model.huggingface for model in MODELS.values()]
    assert len(ids) == len(set(ids)) >= 40
    for model in MODELS.values():
        assert all(spelling.count("/") == 1 for spelling in (model.huggingface, model.modelscope))
