"""A tokenizer and chat templates after those of real models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pydoc_data.topics import topics

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin|>", "<|header|>", "<|/header|>", "<|eot|>",
    "<s>", "</s>", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>",
]  # fmt: skip

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHATML = """
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}
{%- else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA3 = """{{ '<|begin|>' }}{% for m in messages %}
{%- set head = '<|header|>' + m['role'] + '<|/header|>\\n\\n' %}{{ head }}
{%- if m['role'] == 'assistant' %}{% generation %}{{ m['content'] | trim + '<|eot|>' }}{% endgeneration %}
{%- else %}{{ m['content'] | trim + '<|eot|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|header|>assistant<|/header|>\\n\\n' }}{% endif %}"""

QWEN3 = """
{%- set ns = namespace(search=true, last=messages|length - 1) %}
{%- for m in messages[::-1] %}{% set index = (messages|length - 1) - loop.index0 %}
{%- if ns.search and m.role == 'user' and not (
  m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}
{%- set ns.search = false %}{% set ns.last = index %}{% endif %}{% endfor %}
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{%- set content = m.content %}{% set thought = '' %}
{%- if '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{{- '<|im_start|>assistant\\n' }}{% generation %}
{%- if loop.index0 > ns.last and (loop.last or thought) %}
{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
{%- else %}{{ content }}{% endif %}{{ '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}
{%- else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

MISTRAL = """
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}
{%- else %}{% set system = '' %}{% set turns = messages %}{% endif %}{{- '<s>' }}
{%- for m in turns %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{%- if m.role == 'user' %}
{%- if loop.last and system %}{{ '[INST]' + system + '\\n\\n' + m.content + '[/INST]' }}
{%- else %}{{ '[INST]' + m.content + '[/INST]' }}{% endif %}
{%- else %}{% generation %}{{ m.content + '</s>' }}{% endgeneration %}{% endif %}{% endfor %}"""

GEMMA = """{{ '<s>' }}{% for m in messages %}
{%- set role = 'model' if m['role'] == 'assistant' else m['role'] %}
{{- '<start_of_turn>' + role + '\\n' }}
{%- if role == 'model' %}{% generation %}{{ m['content'] | trim }}{{ '<end_of_turn>' }}{% endgeneration %}
{%- else %}{{ m['content'] | trim }}{{ '<end_of_turn>' }}{% endif %}{{ '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

TEMPLATES = {"chatml": CHATML, "llama3": LLAMA3, "qwen3": QWEN3, "mistral": MISTRAL, "gemma": GEMMA}


def train_backend(kind: str) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    if kind == "qwen":
        backend.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    else:  # "prefix" lies outside what can be cut safely
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "prefix")
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(list(topics.values())[:20], trainer)
    return backend


@pytest.fixture(scope="session")
def backends() -> dict[str, Tokenizer]:
    return {kind: train_backend(kind) for kind in ("gpt2", "qwen", "prefix")}


@pytest.fixture(scope="session")
def make_tokenizer(backends: dict[str, Tokenizer]) -> Callable[..., PreTrainedTokenizerFast]:
    def make(template: str | None = "chatml", kind: str = "gpt2") -> PreTrainedTokenizerFast:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=copy.deepcopy(backends[kind]), eos_token="<|im_end|>", pad_token="<|endoftext|>"
        )
        tokenizer.chat_template = TEMPLATES.get(template, template) if template else None
        return tokenizer

    return make


@pytest.fixture(scope="session")
def tokenizer(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    return make_tokenizer()
