"""Make the tokenizer of the tiny models: `python -m swift.core.models.tiny.train_tokenizer FOLDER`.

Byte-level BPE on the text of `pydoc_data.topics` (the language reference that every Python brings) and some
plain English. The same Python release gives the same files.
"""

from __future__ import annotations

import pydoc_data.topics
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from swift.core.models.tiny.vocabulary import (
    ADDED_TOKENS,
    EOS,
    MERGED_SIZE,
    PAD,
    VISIBLE_TOKENS,
)

# Contractions, words with one leading sign, single digits, runs of signs, line ends, blanks.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

ENGLISH = """
Hello! How can I help you today? I am a small language model, and I do my best to answer your question.
Please write a short story about a young woman who lives by the sea with her brother and an old dog.
The weather is nice this morning, so we could go for a walk, buy some bread and have breakfast in the garden.
What is the capital of France? The capital of France is Paris. It lies on the river Seine.
Give me three tips for staying healthy. Eat well, sleep enough, and take a walk every day.
Reverse the digits of the number. Add these two numbers and say the result. Explain your answer step by step.
Thank you very much for your help; I will think about it and let you know tomorrow.
The picture shows two people who are standing in front of a house, and a red car on the street behind them.
Translate the following sentence into English. Summarize this article. Classify each of these reviews.
Here is an example: first we look at the problem, then we find out what is known, and finally we solve it.
The user asked the assistant to call a tool with the name and arguments of a function and to return it.
She said that he had been working there for many years, because his family needed the money.
If you want to learn something new, start with a small part of it and repeat it until it becomes easy.
Water boils at one hundred degrees. The sun rises in the east. Most birds can fly, but some cannot.
"""


def corpus() -> Iterator[str]:
    """Texts in a fixed order."""
    for topic in sorted(pydoc_data.topics.topics):
        yield pydoc_data.topics.topics[topic]
    for _ in range(20):  # enough that everyday words earn merges beside the manual's
        yield ENGLISH


def train() -> PreTrainedTokenizerFast:
    """Merges learned from corpus(), then the added tokens, and the chat template beside this module."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = (
        normalizers.NFC()
    )  # as Qwen2Tokenizer, which transformers may pick for a saved folder
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MERGED_SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus(), trainer)
    for token in ADDED_TOKENS:
        backend.add_tokens([AddedToken(token, special=token not in VISIBLE_TOKENS, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    folder = resources.files("swift.core.models.tiny") / "tokenizer"
    tokenizer.chat_template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    return tokenizer


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m swift.core.models.tiny.train_tokenizer FOLDER")
    train().save_pretrained(Path(sys.argv[1]))
