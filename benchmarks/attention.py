"""Attention over boundaries against its alternatives: one training step on alpaca-like lengths, on the CPU.

    python benchmarks/attention.py [--tokens 4096] [--repeats 5] [--threads 2]

The same samples go through the same Llama (hidden 256, 6 layers) in three layouts:
- packed, swift_varlen: one row, attention within each sequence;
- packed, sdpa: one row, a block-diagonal mask of tokens^2 values;
- padded, sdpa: batches of 8 in the order of the data, filled up to the longest.
Reported are medians of forward plus backward in seconds, real tokens per second, and ratios to the first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from swift.core.models.attention import register_varlen_attention

VOCAB = 2048
BATCH_SIZE = 8


def sample_lengths(tokens: int) -> list[int]:
    """Log-normal lengths with median 90 and a long tail, as instruction data has; they add up to tokens."""
    generator = torch.Generator().manual_seed(0)
    lengths: list[int] = []
    while sum(lengths) < tokens:
        drawn = torch.empty(()).log_normal_(4.5, 0.8, generator=generator)
        lengths.append(min(max(8, int(drawn)), 1024, tokens - sum(lengths)))
    return lengths


def build(attention: str, tokens: int) -> torch.nn.Module:
    """The same random weights whatever the attention."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=tokens,
    )
    model: torch.nn.Module = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model


def packed_step(model: torch.nn.Module, samples: list[torch.Tensor]) -> None:
    """One row; positions start again in every sample."""
    positions = torch.cat([torch.arange(len(sample)) for sample in samples])[None]
    output = model(input_ids=torch.cat(samples)[None], position_ids=positions, use_cache=False)
    output.logits.float().logsumexp(-1).sum().backward()


def padded_step(model: torch.nn.Module, samples: list[torch.Tensor]) -> None:
    """Rows of a batch filled up on the right."""
    for start in range(0, len(samples), BATCH_SIZE):
        rows = samples[start : start + BATCH_SIZE]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        output = model(input_ids=tokens, attention_mask=mask, use_cache=False)
        (output.logits.float().logsumexp(-1) * mask).sum().backward()


def seconds(step: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=4096, help="real tokens a step")
    parser.add_argument("--repeats", type=int, default=5, help="measured steps of each layout")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    register_varlen_attention()

    lengths = sample_lengths(options.tokens)
    samples = [torch.randint(0, VOCAB, (length,)) for length in lengths]
    varlen, sdpa = build("swift_varlen", options.tokens), build("sdpa", options.tokens)
    steps: dict[str, Callable[[], None]] = {
        "packed, swift_varlen": lambda: packed_step(varlen, samples),
        "packed, sdpa with mask": lambda: packed_step(sdpa, samples),
        f"padded, sdpa, batch {BATCH_SIZE}": lambda: padded_step(sdpa, samples),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(options.repeats + 1):
        for name, step in steps.items():  # in turns, so that a busy machine slows all of them
            elapsed = seconds(step)
            if repeat > 0:
                times[name].append(elapsed)

    print(f"{options.tokens} tokens in {len(lengths)} samples, {options.threads} threads")
    print(f"{'layout':26} {'median s':>9} {'tokens/s':>9} {'ratio':>6}")
    fastest = statistics.median(next(iter(times.values())))
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:26} {median:9.3f} {options.tokens / median:9.0f} {median / fastest:6.2f}")


if __name__ == "__main__":
    main()
