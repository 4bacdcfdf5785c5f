"""Tokens per second of the embedded engine beside other ways to generate, on one model and machine.

    python benchmarks/engine.py [--repeats 5] [--vllm] [--counts 16 64] [--only "batched generate" ...]

A 13M-parameter fp32 Qwen3 with random weights answers equally long prompts greedily. Every way runs once a
round, in turn, so that a busy moment of the machine hits all of them. Printed are medians over the rounds,
and the ratio of the embedded engine to each. Start-up is not timed, for anybody.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.types import GenerationRequest, SamplingParams
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.engine import TransformersEngine

PROMPT, ANSWER = 32, 64
Way = Callable[[list[list[int]]], int]


def build() -> Any:
    """12.9M parameters, without a token that ends an answer."""
    torch.manual_seed(0)
    config = Qwen3Config(
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        intermediate_size=768,
        vocab_size=32_000,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return Qwen3ForCausalLM(config).eval()


def prompts(count: int, seed: int) -> list[list[int]]:
    """Random token ids [count, PROMPT]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, 32_000, (count, PROMPT), generator=generator).tolist()  # type: ignore[no-any-return]


def ours(model: Any) -> Way:
    """The embedded engine."""
    engine = TransformersEngine(model, tiny_tokenizer(), TransformersEngineConfig())
    sampling = SamplingParams(ANSWER, temperature=0.0, ignore_eos=True)

    def run(ids: list[list[int]]) -> int:
        asked = [GenerationRequest(str(number), tuple(one), sampling) for number, one in enumerate(ids)]
        return sum(len(delta.token_ids) for delta in engine.generate(asked))

    return run


def batched(model: Any) -> Way:
    """generate() on the whole batch; nothing can join it."""

    def run(ids: list[list[int]]) -> int:
        batch = torch.tensor(ids)
        output = model.generate(
            batch, attention_mask=torch.ones_like(batch), max_new_tokens=ANSWER, do_sample=False
        )
        return int(output[:, PROMPT:].numel())

    return run


def one_by_one(model: Any) -> Way:
    """generate() on one prompt after the other; a quarter of them, which leaves tokens per second alone."""
    run = batched(model)
    return lambda ids: sum(run([one]) for one in ids[: max(1, len(ids) // 4)])


def manager(model: Any) -> Way:
    """The continuous-batching manager of transformers, kept running between the rounds."""
    generation = GenerationConfig(max_new_tokens=ANSWER, do_sample=False, eos_token_id=-1, pad_token_id=0)
    settings = ContinuousBatchingConfig(num_blocks=1024, max_batch_tokens=2048)

    def run(ids: list[list[int]]) -> int:
        answers = model.generate_batch(
            ids,
            generation_config=generation,
            continuous_batching_config=settings,
            persistent_manager=True,
            progress_bar=False,
        )
        return sum(len(one.generated_tokens) for one in answers.values())

    return run


def vllm_worker(folder: str) -> None:
    """Child process: vLLM's offline engine; reads prompts and writes seconds, a line each."""
    from vllm import LLM
    from vllm import SamplingParams as VllmSampling

    llm = LLM(folder, skip_tokenizer_init=True, enforce_eager=True, dtype="float32", max_model_len=512)
    sampling = VllmSampling(max_tokens=ANSWER, temperature=0.0, ignore_eos=True, detokenize=False)
    print("ready", flush=True)
    for line in sys.stdin:
        asked = [{"prompt_token_ids": one} for one in json.loads(line)]
        print(
            sum(len(one.outputs[0].token_ids) for one in llm.generate(asked, sampling, use_tqdm=False)),
            flush=True,
        )


def vllm(model: Any) -> Way:
    """vLLM on CPU, offline, in a process of its own."""
    folder = tempfile.TemporaryDirectory(prefix="engine-benchmark-")  # read by the time this returns
    model.save_pretrained(folder.name)
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    child = subprocess.Popen(
        [sys.executable, __file__, "--vllm-worker", folder.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert child.stdin is not None and child.stdout is not None
    source, target = child.stdout, child.stdin
    for line in source:
        if line.strip() == "ready":
            break
    else:
        raise SystemExit("vLLM did not start; try: python -m vllm.entrypoints.openai.api_server")

    def run(ids: list[list[int]]) -> int:
        target.write(json.dumps(ids) + "\n")
        target.flush()
        return next(int(line) for line in source if line.strip().isdigit())

    return run


def measure(ways: dict[str, Way], count: int, repeats: int) -> dict[str, list[float]]:
    """Tokens per second of every way and round, after one round of warm-up."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(-1, repeats):
        for name, run in ways.items():
            ids = prompts(count, seed=repeat + 1)
            started = time.perf_counter()
            tokens = run(ids)
            if repeat >= 0:
                speeds[name].append(tokens / (time.perf_counter() - started))
    return speeds


OTHERS: dict[str, Callable[[Any], Way]] = {
    "batched generate": batched,
    "transformers manager": manager,
    "one by one": one_by_one,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--vllm", action="store_true", help="also vLLM on CPU (about a minute to start)")
    parser.add_argument("--counts", type=int, nargs="+", default=[16, 64], help="prompts of a round")
    parser.add_argument("--only", nargs="*", choices=tuple(OTHERS), default=list(OTHERS), help="beside ours")
    parser.add_argument("--vllm-worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.vllm_worker:
        vllm_worker(arguments.vllm_worker)
        return
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)  # warns of what is wanted here
    model = build()
    ways = {"embedded engine": ours(model)}
    ways |= {name: OTHERS[name](build()) for name in arguments.only}  # the manager changes its model
    if arguments.vllm:
        ways["vllm on CPU"] = vllm(model)
    print(f"{torch.get_num_threads()} threads, {arguments.repeats} rounds, {PROMPT} + {ANSWER} tokens each")
    for count in arguments.counts:
        speeds = measure(ways, count, arguments.repeats)
        for name, values in speeds.items():
            middle = statistics.median(values)
            ratio = statistics.median(a / b for a, b in zip(speeds["embedded engine"], values, strict=True))
            print(f"{count:3d} prompts  {name:22s}{middle:8.0f} tok/s   embedded / this {ratio:5.2f}")


if __name__ == "__main__":
    main()
