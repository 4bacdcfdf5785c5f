"""The job: a random Qwen3 of 13 million parameters, its tokenizer, and rows as conversations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from swift.core.models.tiny.train_tokenizer import SPLIT

VOCAB_SIZE = 32_000
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# ChatML. The line end after an answer is learned too, as the built-in templates of the peers do.
TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "{{- '<|im_start|>assistant\\n' -}}"
    "{%- generation -%}{{- message.content ~ '<|im_end|>\\n' -}}{%- endgeneration -%}"
    "{%- else -%}"
    "{{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class Job:
    """What every contender trains.

    Attributes:
        model: folder with weights, configuration and tokenizer.
        rows: JSON Lines, each row a conversation under `messages`.
        checkpointing: whether activations are recomputed; None leaves it to each contender's default.
    """

    model: Path
    rows: Path
    max_length: int = 512
    batch_size: int = 8
    steps: int = 20
    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3
    seed: int = 42
    checkpointing: bool | None = None


def make_job(data: Path, folder: Path, rows: int, steps: int, checkpointing: bool | None) -> Job:
    """Write model and rows; the same data gives the same files.

    Args:
        data: JSON list of instruction / input / output.
        rows: how many of the first ones are learned; the tokenizer is trained on all.
    """
    table = json.loads(data.read_text(encoding="utf-8"))
    job = Job(folder / "model", folder / "rows.jsonl", steps=steps, checkpointing=checkpointing)
    conversations = [_conversation(row) for row in table[:rows]]
    job.model.mkdir(parents=True, exist_ok=True)
    job.rows.write_text("".join(json.dumps(row) + "\n" for row in conversations), encoding="utf-8")
    tokenizer = _tokenizer([text for row in table for text in row.values() if isinstance(text, str)])
    tokenizer.save_pretrained(job.model)
    _model(tokenizer).save_pretrained(job.model)
    return job


def _conversation(row: dict[str, str]) -> dict[str, Any]:
    question = "\n".join(filter(None, (row["instruction"], row.get("input"))))
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]
    return {"messages": messages}


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE - 3, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    backend.add_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, START, END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def _model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        initializer_range=256**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config)
