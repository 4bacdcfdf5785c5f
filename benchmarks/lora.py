"""Fused LoRA layers beside peft's: tokens a second and memory of forward and backward passes, side by side.

    uv run python benchmarks/lora.py --threads 1

A random Qwen3 with LoRA on all linear layers. Both ways take turns on the same batch; given are medians of
processor time, so that other work on the machine matters less, and their ratio. Memory is what the process
resides in at its peak beyond the start of a step, measured in a fresh process each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from typing import Any

import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from swift.tuners.lora.config import LoraConfig
from swift.tuners.lora.tuner import LoraTuner

WAYS = {"peft": False, "fused": True}


def build(fused: bool, arguments: argparse.Namespace) -> nn.Module:
    """The model with its adapter."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=1024,  # small: the head is another benchmark's
        hidden_size=arguments.hidden,
        intermediate_size=3 * arguments.hidden,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.hidden // 64,
        num_key_value_heads=arguments.hidden // 128,
        head_dim=64,
    )
    model = Qwen3ForCausalLM(config).to(getattr(torch, arguments.dtype))
    settings = LoraConfig(lora_rank=arguments.rank, fused_lora=fused)
    return LoraTuner(settings).apply(model).train()


def step(model: nn.Module, ids: torch.Tensor) -> float:
    """One forward and backward pass; processor seconds."""
    model.zero_grad()
    started = time.process_time()
    model(input_ids=ids, logits_to_keep=1).logits.float().square().mean().backward()
    return time.process_time() - started


def batch(arguments: argparse.Namespace) -> torch.Tensor:
    """Token ids [rows, tokens]."""
    return torch.randint(1024, (arguments.rows, arguments.tokens), generator=torch.Generator().manual_seed(0))


def peak_bytes(fused: bool, arguments: argparse.Namespace, queue: Any) -> None:
    """Growth of this process's peak memory during one step."""
    torch.set_num_threads(arguments.threads)
    model, ids = build(fused, arguments), batch(arguments)
    step(model, ids[:, :8])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(model, ids)
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def in_a_fresh_process(fused: bool, arguments: argparse.Namespace) -> int:
    """peak_bytes() of a process of its own."""
    context = multiprocessing.get_context("fork")  # from a parent that has imported all and computed nothing
    queue = context.SimpleQueue()
    process = context.Process(target=peak_bytes, args=(fused, arguments, queue))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"measuring memory ended with status {process.exitcode}")
    return int(queue.get())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    memory = {name: in_a_fresh_process(fused, arguments) for name, fused in WAYS.items()}
    ids = batch(arguments)
    models = {name: build(fused, arguments) for name, fused in WAYS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(arguments.repeats + 2):
        for name, model in models.items():
            seconds[name].append(step(model, ids))
    medians = {name: statistics.median(values[2:]) for name, values in seconds.items()}
    print(f"{'way':<8}{'tokens/s':>10}{'ratio':>8}{'MB':>8}{'ratio':>8}")
    for name, median in medians.items():
        print(
            f"{name:<8}{ids.numel() / median:>10.0f}{medians['peft'] / median:>8.2f}"
            f"{memory[name] / 1e6:>8.0f}{memory[name] / memory['peft']:>8.2f}"
        )


if __name__ == "__main__":
    main()
