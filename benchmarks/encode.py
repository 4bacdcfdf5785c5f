"""Rows per second from a JSON Lines file to tokens and labels: ours against a loop over apply_chat_template.

    python benchmarks/encode.py --rows 50000 --repeats 3

Every contender reads the same file in one process; repeats are interleaved, medians are printed. The
tokenizer (byte-level BPE, 8k tokens) is trained on the spot on the documentation that comes with Python.
`fetched` is ours with data.cache_dir, where an earlier run has left the samples; they are equal to the last
bit.
Set TOKENIZERS_PARALLELISM=false to measure without the tokenizer's own threads.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from swift.core.config.schema import DataConfig
from swift.core.data.dataset import EncodedDataset
from swift.core.data.pipeline import build_datasets
from swift.core.template.builtin import chat_template
from swift.core.template.chat import ChatTemplate
from swift.core.types import Message


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A GPT-2 style tokenizer with ChatML tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(topics.values(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = chat_template("chatml")
    return tokenizer


def write_rows(path: Path, count: int, seed: int = 0) -> None:
    """Two-turn conversations of running text, 5 to 40 and 20 to 120 words."""
    generator = random.Random(seed)
    words = "\n".join(topics.values()).split(" ")

    def text(shortest: int, longest: int) -> str:
        length = generator.randint(shortest, longest)
        start = generator.randrange(len(words) - length)
        return " ".join(words[start : start + length]).strip() or "empty"

    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            turns = [
                {"role": "user", "content": text(5, 40)},
                {"role": "assistant", "content": text(20, 120)},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")


def ours(path: Path, tokenizer: PreTrainedTokenizerFast) -> int:
    """The data pipeline, with a template that has seen nothing yet."""
    return int(build(path, tokenizer).lengths.sum())


def fetched(path: Path, tokenizer: PreTrainedTokenizerFast) -> int:
    """The data pipeline, with samples from its cache."""
    return int(build(path, tokenizer, path.parent / "cache").lengths.sum())


def build(path: Path, tokenizer: PreTrainedTokenizerFast, cache: Path | None = None) -> EncodedDataset:
    template = ChatTemplate(tokenizer, max_length=1 << 20)
    config = DataConfig(dataset_name=[str(path)], shuffle=False, cache_dir=str(cache) if cache else None)
    train = build_datasets(config, template, "causal_lm", seed=0).train
    assert isinstance(train, EncodedDataset)
    return train


def messages_of(path: Path) -> Iterator[list[Message]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["messages"]


def loop(path: Path, tokenizer: PreTrainedTokenizerFast) -> int:
    """One apply_chat_template a row, without knowing what the assistant wrote."""
    return sum(
        len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])
        for messages in messages_of(path)
    )


def loop_with_mask(path: Path, tokenizer: PreTrainedTokenizerFast) -> int:
    """One apply_chat_template a row, with the mask of the assistant's tokens."""
    return sum(
        len(
            tokenizer.apply_chat_template(
                messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )["input_ids"]
        )
        for messages in messages_of(path)
    )


def check(path: Path, tokenizer: PreTrainedTokenizerFast, rows: int = 1000) -> None:
    """Ours and the loop give the same tokens and labels.

    Raises:
        AssertionError: they differ.
    """
    for messages, encoded in zip(messages_of(path), islice(iter(build(path, tokenizer)), rows), strict=False):
        expected = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        labels = np.where(np.array(expected["assistant_masks"], dtype=bool), expected["input_ids"], -100)
        assert encoded.input_ids.tolist() == expected["input_ids"], encoded.origin
        assert encoded.labels.tolist() == labels.tolist(), encoded.origin


def check_cache(path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Fill the cache; what comes out of it is what went in.

    Raises:
        AssertionError: samples differ.
    """
    made, found = (build(path, tokenizer, path.parent / "cache") for _ in range(2))
    for one, other in zip(iter(made), iter(found), strict=True):
        assert np.array_equal(one.input_ids, other.input_ids), one.origin
        assert np.array_equal(one.labels, other.labels), one.origin
        assert (one.columns, one.origin) == (other.columns, other.origin)


def main() -> None:
    """Print rows per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    tokenizer = make_tokenizer()
    contenders: list[Callable[[Path, PreTrainedTokenizerFast], int]] = [ours, loop, loop_with_mask, fetched]
    seconds: dict[str, list[float]] = {contender.__name__: [] for contender in contenders}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, arguments.rows)
        check(path, tokenizer)
        check_cache(path, tokenizer)
        for _ in range(arguments.repeats):
            for contender in contenders:
                start = time.perf_counter()
                contender(path, tokenizer)
                seconds[contender.__name__].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:>15}: {arguments.rows / median:>9,.0f} rows/s  ours is {median / medians['ours']:.2f}x")


if __name__ == "__main__":
    main()
