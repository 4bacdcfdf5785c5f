"""One model behind several servers, asked by one client: tokens per second, latencies, memory.

    python benchmarks/serve.py [--servers vllm gateway+vllm embedded transformers] [--rounds 5] [--repeats 2]
    python benchmarks/serve.py --together --concurrency 1 --tokens 16    latency without queueing
    python benchmarks/serve.py --servers embedded --concurrency 1000          many at once
    python benchmarks/serve.py --servers embedded --running 256               a large batch
    python benchmarks/serve.py --servers embedded --context 32768             one long prompt

A random Qwen3 of 13M parameters in fp32 answers chat streams whose prompts differ, so that no cache of
prefixes counts. A round sends --requests requests, --concurrency of them at a time, from a process of its
own that looks at bytes only. Servers run one after the other, never two at a time, and all of them --repeats
times in turn, so that a busy moment of the machine hits more than one. With --together all run at once and
are asked in turn, round by round: for differences smaller than what the machine does from one minute to the
next. Printed are medians over the rounds and repeats; the first round of every start is not counted. The
ratio is to the first server named. A request is lost unless its stream is complete. On a machine that does
other work too, only the processor time of a token, which a server takes with all its processes, can be
compared.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from serving.model import make_model, vocabulary, words_within
from serving.servers import NAMES, Setup, processor_seconds, started

CLIENT = Path(__file__).parent / "serving" / "client.py"
COLUMNS = {
    "tokens_per_second": ("tok/s", 1.0),
    "first_p50": ("first p50 ms", 1e3),
    "first_p99": ("first p99 ms", 1e3),
    "gap_p50": ("gap p50 ms", 1e3),
    "gap_p99": ("gap p99 ms", 1e3),
    "request_p50": ("request p50 ms", 1e3),
    "request_p99": ("request p99 ms", 1e3),
    "processor_per_token": ("CPU ms/token", 1e3),
}
CHAT_TOKENS = 64  # more than the chat template adds to a prompt


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--servers", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--concurrency", type=int, default=64, help="streams at a time")
    parser.add_argument("--requests", type=int, help="of a round; default: as many as at a time")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--prompt-words", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5, help="after the first, for every start of a server")
    parser.add_argument("--together", action="store_true", help="start all, and ask them in turn")
    parser.add_argument("--repeats", type=int, default=1, help="how often all servers are started in turn")
    parser.add_argument("--running", type=int, default=64, help="sequences that a server generates together")
    parser.add_argument("--context", type=int, help="serve and fill a context of so many tokens")
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS of the servers")
    parser.add_argument("--kv-gb", type=int, default=1, help="GiB for keys and values, for vLLM")
    parser.add_argument("--binaries", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--json", type=Path, help="also write every round to this file")
    return parser.parse_args()


def job(options: argparse.Namespace, model: Path, port: int, seed: int) -> dict[str, Any]:
    """What the client is told."""
    words, known = options.prompt_words, vocabulary()[:5000]
    if options.context:
        words = words_within(options.context - options.tokens - CHAT_TOKENS, model, known)
    return {
        "host": "127.0.0.1",
        "port": port,
        "model": "model",
        "concurrency": options.concurrency,
        "requests": options.requests or options.concurrency,
        "tokens": options.tokens,
        "prompt_words": words,
        "seed": seed,
        "words": known,
    }


def ask(told: dict[str, Any], name: str, model: Path) -> dict[str, Any]:
    """One round."""
    if name == "transformers":  # knows no ignore_eos: a generation config in its place; always sends usage
        config = {"eos_token_id": None, "max_new_tokens": told["tokens"], "do_sample": False}
        told = {**told, "model": str(model), "extra": {"generation_config": json.dumps(config)}}
    else:
        told = {**told, "extra": {"ignore_eos": True, "stream_options": {"include_usage": True}}}
    output = subprocess.run(
        [sys.executable, str(CLIENT)], input=json.dumps(told), capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(output.stdout)
    return found


def main() -> None:
    """Start, ask, print."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that no server is left behind
    rounds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    memory: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory(prefix="serve-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        context = options.context or 4096
        model = make_model(folder, context)
        setup = Setup(model, context, options.running, options.kv_gb, options.binaries)
        seeds = itertools.count(1)
        groups = [options.servers] if options.together else [[name] for name in options.servers]
        for repeat, group in itertools.product(range(options.repeats), groups):
            with contextlib.ExitStack() as stack:
                running = {
                    name: stack.enter_context(started(name, setup, options.threads, folder / f"{name}.log"))
                    for name in group
                }
                for number, name in itertools.product(range(options.rounds + 1), group):
                    port, watch = running[name]
                    before = processor_seconds(watch.root)
                    found = ask(job(options, model, port, next(seeds)), name, model)
                    used = processor_seconds(watch.root) - before
                    found["processor_per_token"] = used / max(1, found["tokens"])
                    print(f"{name} {repeat}.{number}: {line(found)}", file=sys.stderr, flush=True)
                    if number:
                        rounds[name].append(found)
                    memory[name] = max(memory[name], watch.peak / 2**20)
    print(table(rounds, memory, options.servers))
    if options.json:
        options.json.write_text(json.dumps(rounds), encoding="utf-8")


def line(found: dict[str, Any]) -> str:
    """One round in one line."""
    parts = [f"{label} {found[key] * factor:.1f}" for key, (label, factor) in COLUMNS.items()]
    return ", ".join([*parts, f"lost {found['lost']} of {found['requests']}"])


def table(rounds: dict[str, list[dict[str, Any]]], memory: dict[str, float], servers: list[str]) -> str:
    """Medians as a Markdown table."""
    labels = [label for label, _ in COLUMNS.values()]
    lines = ["| server | " + " | ".join([*labels, "ratio", "lost", "peak MiB"]) + " |"]
    lines.append("|---" + "|---:" * (len(labels) + 3) + "|")
    base = median(rounds[servers[0]], "tokens_per_second")
    for name in servers:
        values = [f"{median(rounds[name], key) * factor:.1f}" for key, (_, factor) in COLUMNS.items()]
        ratio = median(rounds[name], "tokens_per_second") / base if base else 0.0
        lost = sum(one["lost"] for one in rounds[name])
        count = sum(one["requests"] for one in rounds[name])
        cells = [*values, f"{ratio:.2f}", f"{lost} of {count}", f"{memory[name]:.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def median(found: list[dict[str, Any]], key: str) -> float:
    """Over all rounds of a server; 0 of none."""
    return statistics.median(one[key] for one in found) if found else 0.0


if __name__ == "__main__":
    main()
