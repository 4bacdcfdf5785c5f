from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from swift.core.config.schema import DataConfig
from swift.core.data.collate import collate_flat, collate_padded
from swift.core.data.pipeline import build_datasets
from swift.core.errors import ConfigError, DataError
from swift.core.template.chat import ChatTemplate
from swift.core.types import Encoded


def write(path: Path, count: int, word: str = "hello") -> str:
    rows = [
        {"prompt": f"say {word} {i}", "response": f"{word} " * (i % 5 + 1) + str(i)} for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def build(tokenizer: PreTrainedTokenizerFast, seed: int = 0, **settings: Any) -> Any:
    data = DataConfig(**settings)
    template = ChatTemplate(tokenizer, max_length=data.max_length, truncation=data.truncation)
    return build_datasets(data, template, "causal_lm", seed=seed, folder=None)


def test_split_is_disjoint_repeatable_and_counted(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    name = write(tmp_path / "a.jsonl", 50)
    first, second = (build(tokenizer, dataset_name=name, split_ratio=0.2) for _ in range(2))
    origins = [first.train[i].origin for i in range(40)]
    held_out = [row.origin for row in first.eval_conversations]
    assert len(first.train) == 40 and len(first.evaluation) == 10
    assert not set(origins) & set(held_out) and origins != sorted(origins)
    assert origins == [second.train[i].origin for i in range(40)]
    assert first.summary == second.summary
    assert first.summary["train"]["tokens"] == int(first.train.lengths.sum())


def test_packs_hold_every_sample_once(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    datasets = build(tokenizer, dataset_name=write(tmp_path / "a.jsonl", 60), packing=True, max_length=256)
    packs = [datasets.train[i] for i in range(len(datasets.train))]
    assert sorted(sample.origin for pack in packs for sample in pack) == sorted(
        f"{tmp_path / 'a.jsonl'}:{line}" for line in range(1, 61)
    )
    assert max(sum(len(sample.input_ids) for sample in pack) for pack in packs) <= 256
    assert len(packs) < 60


def test_weights_mix_and_must_match(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    names = [write(tmp_path / f"{word}.jsonl", 400, word) for word in ("a", "b")]
    datasets = build(tokenizer, dataset_name=names, weights=[3, 1], shuffle=False)
    from_a = sum("a.jsonl" in datasets.train[i].origin for i in range(len(datasets.train)))
    assert from_a / len(datasets.train) == pytest.approx(0.75, abs=0.05)
    with pytest.raises(ConfigError, match=r"data\.weights"):
        build(tokenizer, dataset_name=names, weights=[1])


def test_when_all_rows_are_too_long_the_lengths_are_told(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(DataError, match=r"max_length=4.*tokens"):
        build(tokenizer, dataset_name=write(tmp_path / "a.jsonl", 3), max_length=4)


def test_rows_that_cannot_be_encoded_raise_or_are_skipped(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = tmp_path / "a.jsonl"
    write(path, 3)
    path.write_text(path.read_text() + '{"prompt": "no answer"}\n{"odd": 1}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:5"):
        build(tokenizer, dataset_name=str(path))
    datasets = build(tokenizer, dataset_name=str(path), on_error="skip")
    assert (len(datasets.train), datasets.summary["train"]["unencodable"]) == (3, 1)
    assert datasets.summary["sources"][0]["rows_skipped"] == 1


def test_an_empty_file_is_an_error(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no usable rows"):
        build(tokenizer, dataset_name=str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("packing", [False, True])
def test_a_stream_repeats_and_ranks_read_disjoint_rows(
    packing: bool, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write(tmp_path / "a.jsonl", 40)
    stream = build(tokenizer, dataset_name=name, streaming=True, packing=packing, max_length=128).train

    def epoch() -> list[str]:
        samples = iter(stream)
        if packing:
            samples = itertools.chain.from_iterable(samples)
        world = 2 if "WORLD_SIZE" in os.environ else 1
        return [sample.origin for sample in itertools.islice(samples, 40 // world)]

    assert epoch() == epoch()
    assert len(set(epoch())) == 40
    monkeypatch.setenv("WORLD_SIZE", "2")
    shards = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        shards.append(set(epoch()))
    assert not shards[0] & shards[1] and len(shards[0] | shards[1]) == 40


def sample(length: int, start: int) -> Encoded:
    ids = np.arange(start, start + length, dtype=np.int32)
    return Encoded(ids, ids.copy(), media={"pixels": torch.full((1, 2), float(start))})


def test_collate_padded() -> None:
    batch = collate_padded([sample(2, 5), sample(3, 7)], pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 0], [7, 8, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[5, 6, -100], [7, 8, 9]]
    assert batch["pixels"].tolist() == [[5.0, 5.0], [7.0, 7.0]]


def test_collate_flat_keeps_samples_apart() -> None:
    batch = collate_flat([sample(2, 5), sample(3, 7)])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["labels"].tolist() == [[-100, 6, -100, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 2, 5] and batch["cu_seq_lens_q"].dtype == torch.int32
    assert batch["max_length_k"] == 3
