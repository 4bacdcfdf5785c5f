"""Memory of a training step, method by method: parameters, gradients, optimiser state, activations, peak.

    uv run python benchmarks/tuner_memory.py               # 13M parameters, on this CPU
    uv run python benchmarks/tuner_memory.py --model FOLDER --methods full lora qlora full/galore
    uv run python benchmarks/tuner_memory.py --target-7b   # Qwen2.5-7B's shape, on a GPU

Nothing is estimated. Each method trains in a process of its own, on random tokens, for three steps.
Parameters, gradients and optimiser state are counted by walking the tensors that live after a step, each
storage once. Activations are the storages that autograd keeps for the backward pass, parameters left out.
The peak is torch's own count on a GPU, and on a CPU the growth of the process's resident memory since
before the model was made, which includes what libraries and the allocator hold.

"State" is the sum of the first three, which does not grow with the batch. Savings are against the first
method, full fine-tuning with AdamW in the same precision unless others are named.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from swift.core.config.run import run_from_dict
from swift.core.console import quiet_libraries
from swift.core.models.fused_head import Question, fuse_head, fused_head
from swift.core.registry import optimizers, tuners
from swift.core.train.optimizer import build_optimizer, transformers_optimizer
from swift.tuners.api import build_tuner, trainable_share

SHAPES: dict[str, Any] = {
    "13m": lambda: transformers.Qwen3Config(
        vocab_size=32000, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, tie_word_embeddings=True,
    ),
    "qwen2.5-0.5b": lambda: transformers.Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True,
    ),
    "qwen2.5-7b": lambda: transformers.Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
        num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False,
    ),
}  # fmt: skip
"""Architectures by name, for random weights."""

FULL_WITH = ("galore", "q-galore", "apollo", "muon", "adam-mini", "schedule-free", "adafactor", "adamw_8bit")
"""Optimisers measured with full fine-tuning."""

LOW_RANK = ("galore", "q-galore", "apollo")  # measured at a quarter of the hidden width, as GaLore was

QUOTED = {"lora": "~70 %", "qlora": "> 90 %", "galore": "~50 %"}
"""What people quote as the saving against full fine-tuning."""

MEGABYTE = 2**20


@dataclass
class Figures:
    """Bytes, of one method."""

    method: str
    trainable: float
    parameters: int
    gradients: int
    optimizer: int
    activations: int
    peak: int
    seconds: float

    @property
    def state(self) -> int:
        return self.parameters + self.gradients + self.optimizer


def storage_bytes(tensors: Iterable[Any]) -> int:
    """Memory of tensors, what they share counted once."""
    seen: dict[int, int] = {}
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def held(model: nn.Module) -> Iterator[torch.Tensor]:
    """Weights and buffers, with what quantised ones keep beside their numbers."""
    yield from model.buffers()
    for value in model.parameters():
        yield value
        yield from nested(vars(value).get("quant_state"))


def nested(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor inside containers and plain objects."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from nested(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from nested(item)
    elif hasattr(value, "__dict__"):
        yield from nested(vars(value))


@contextmanager
def counting(model: nn.Module) -> Iterator[dict[int, int]]:
    """Storages that autograd keeps, by address, those of the model left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in held(model)}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


class Resident:
    """The largest resident memory of this process while it is watched, above that at its beginning."""

    def __init__(self) -> None:
        self.start = self.largest = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @staticmethod
    def _now() -> int:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * 4096

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.largest = max(self.largest, self._now())

    def end(self) -> int:
        """Stop watching; bytes."""
        self._stop.set()
        self._thread.join()
        return max(self.largest, self._now()) - self.start


def loaded(model: str, options: dict[str, Any], arguments: argparse.Namespace) -> Any:
    """Random weights of a shape, or those of a folder, as the tuner wants them."""
    dtype = getattr(torch, arguments.dtype)
    attention = {"attn_implementation": arguments.attention}
    if model not in SHAPES:
        return transformers.AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **attention, **options)
    config = SHAPES[model]()
    if options:
        return quantised(config, dtype, options["quantization_config"], arguments)
    with torch.device(arguments.device):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, **attention)


def quantised(config: Any, dtype: torch.dtype, options: Any, arguments: argparse.Namespace) -> Any:
    """Random weights in few bits, loaded from files as real ones are, so that the peak is the real one."""
    with tempfile.TemporaryDirectory() as folder:
        transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
        gc.collect()
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, quantization_config=options, device_map={"": arguments.device},
            attn_implementation=arguments.attention,
        )  # fmt: skip


def optimizer_of(name: str, model: nn.Module, rate: float) -> Any:
    """An optimiser by the name that train.optim gives it."""
    own = {"rank": model_width(model) // 4} if name in LOW_RANK else {}
    config = run_from_dict({"train": {"optim": name, "learning_rate": rate, "optim_config": own}}).optim
    if name in optimizers:
        return build_optimizer(optimizers.get(name), model, config, rate)
    made, keys = transformers_optimizer(config, rate)
    return made([value for value in model.parameters() if value.requires_grad], **keys)


def model_width(model: Any) -> int:
    """Hidden width."""
    return int(model.config.get_text_config().hidden_size)


def measure(method: str, arguments: argparse.Namespace) -> Figures:
    """Train three steps by a method: a tuner, or full/OPTIMIZER."""
    tuner_name, _, optimizer_name = method.partition("/")
    settings = {"lora_rank": arguments.rank} if "lora_rank" in keys_of(tuner_name) else {}
    tuner = build_tuner(tuner_name, **settings)
    cuda = arguments.device == "cuda"
    torch.manual_seed(0)
    resident = Resident()
    base = loaded(arguments.model, tuner.load_options(), arguments)
    model: Any = tuner.apply(base).train()
    if arguments.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if not arguments.plain_head:
        fuse_head(model)
    tokens = torch.randint(0, model.config.vocab_size, (arguments.batch, arguments.length))
    batch = {"input_ids": tokens.to(arguments.device), "labels": tokens.to(arguments.device)}
    if tuner.batches_wanted():
        tuner.initialize(model, [batch] * tuner.batches_wanted(), loss_of)
    optimizer = optimizer_of(optimizer_name or "adamw_torch", model, 1e-4)
    gc.collect()
    resident.largest = 0  # what loading took on the way is not the step's
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        with counting(model) as kept:
            loss = loss_of(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = storage_bytes(value.grad for value in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if cuda else resident.end()
    return Figures(
        method=method,
        trainable=trainable_share(model).share,
        parameters=storage_bytes(held(model)),
        gradients=gradients,
        optimizer=storage_bytes(nested(dict(optimizer.state))),
        activations=sum(kept.values()),
        peak=peak,
        seconds=min(seconds),
    )


def keys_of(tuner: str) -> set[str]:
    """Settings that a tuner has."""
    config = tuners.get(tuner).config
    return set(config.model_fields) if config is not None else set()


def loss_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean next-token loss; by the fused head, where there is one, without logits."""
    tokens = batch["input_ids"]
    head = fused_head(model)
    if head is None:
        loss: torch.Tensor = model(**batch, use_cache=False).loss
        return loss
    wanted = torch.ones_like(tokens, dtype=torch.bool)
    wanted[:, -1] = False
    with head.asked(Question(wanted, tokens[:, 1:].reshape(-1))):
        answer: torch.Tensor = model(input_ids=tokens, use_cache=False).logits
    return answer.mean()


def every_method() -> list[str]:
    """Tuners by name, full fine-tuning first, then with the optimisers that save memory."""
    return ["full", *(f"full/{name}" for name in FULL_WITH), *(name for name in tuners if name != "full")]


def apart(method: str, words: list[str]) -> Figures | str:
    """Measure in a fresh process; what went wrong, where it did."""
    command = [sys.executable, __file__, *words, "--only", method]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def line(found: Figures, full: Figures) -> str:
    """One row of the table."""

    def saved(mine: int, its: int) -> str:
        return f"{100 * (1 - mine / its):.0f} %"

    sizes = (found.parameters, found.gradients, found.optimizer, found.activations, found.peak)
    cells = [
        found.method,
        f"{100 * found.trainable:.2f} %",
        *(f"{size / MEGABYTE:,.1f}" for size in sizes),
        saved(found.state, full.state),
        saved(found.peak, full.peak),
        QUOTED.get(found.method.removeprefix("full/"), ""),
        f"{found.seconds:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEADINGS = (
    "method", "trains", "parameters MB", "gradients MB", "optimiser MB", "activations MB", "peak MB",
    "state saved", "peak saved", "quoted", "s a step",
)  # fmt: skip


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="13m", help=f"a folder, or {', '.join(SHAPES)}: random weights")
    parser.add_argument("--methods", nargs="+", help="tuners, and full/OPTIMIZER; default: all")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=256, help="tokens of each sample")
    parser.add_argument("--rank", type=int, default=8, help="of LoRA and its kin")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--plain-head", action="store_true", help="compute all logits, as transformers does")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument(
        "--target-7b",
        action="store_true",
        help="QLoRA on Qwen2.5-7B's shape, bfloat16, one sample of 1,024 tokens, gradient checkpointing: "
        "does it peak below 9 GB on a GPU?",
    )
    arguments = parser.parse_args()
    if arguments.target_7b:
        arguments.model, arguments.device, arguments.dtype = "qwen2.5-7b", "cuda", "bfloat16"
        arguments.batch, arguments.length, arguments.checkpointing = 1, 1024, True
        arguments.methods = ["qlora"]
    return arguments


def main() -> int:
    arguments = parsed()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no GPU here: nothing was measured", file=sys.stderr)
        return 2
    torch.set_num_threads(arguments.threads)
    quiet_libraries()
    if arguments.only:
        print(json.dumps(asdict(measure(arguments.only, arguments))))
        return 0
    words = sys.argv[1:]
    if "--methods" in words:  # each process gets one
        start = words.index("--methods")
        words = words[:start] + words[start + 1 + len(arguments.methods) :]
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    print(f"{arguments.model}, {arguments.dtype}, {arguments.batch} x {arguments.length} tokens, on {where}")
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS))
    full: Figures | None = None
    for method in arguments.methods or every_method():
        found = apart(method, words)
        if isinstance(found, str):
            print(f"{method}: not measured: {found}", file=sys.stderr)
            continue
        full = full or found  # the first one, full fine-tuning unless others were named
        print(line(found, full), flush=True)
        if arguments.target_7b:
            print(f"peak {found.peak / 1e9:.2f} GB, {'below' if found.peak < 9e9 else 'NOT below'} 9 GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
