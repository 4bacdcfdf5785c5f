"""Every method of export, and our GPTQ, AWQ, int8 and FP8 beside llm-compressor's: perplexity, size, time.

    swift engines install llmcompressor
    python benchmarks/quantize.py [--model FOLDER --data FILE] [--methods gptq awq ...]
    python benchmarks/quantize.py --qat 60     rounding to 2 bits after 60 steps with and without train.qat

Without a model, tiny/qwen3 learns Python's manual first (a minute), and is measured on the part that was
kept back. Both sides get the same weights, the same calibration rows and settings; what they wrote is loaded
and measured by the same code on the same tokens. Times are whole exports, the peer's imports in its own
process included. llm-compressor's AWQ needs a GPU; where it has none, its error is printed instead.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch

from swift.core.config.run import load_run
from swift.core.config.schema import ModelConfig
from swift.core.errors import SwiftError
from swift.core.models.load import load_model, load_processor, save_model
from swift.core.train.run import train_in_process
from swift.infer.load import load_infer_run
from swift.infer.quantize.export import export

PIECE = 400  # characters of a row
CALIBRATED = ("gptq", "awq", "int8")
COMPARED = ("fp8", *CALIBRATED)


def learned(folder: Path, steps: int) -> tuple[Path, Path, Path]:
    """(tiny/qwen3 after some steps on Python's manual, the rows it has seen, others)."""
    text = "\n\n".join(topics[topic] for topic in sorted(topics))
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    known, kept = pieces[: len(pieces) * 4 // 5], pieces[len(pieces) * 4 // 5 :]
    config = ModelConfig()
    model, tokenizer = load_model(config, dtype=torch.float32, device="cpu"), load_processor(config)
    ids = torch.tensor(tokenizer("\n".join(known))["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        starts = torch.randint(0, len(ids) - 96, (8,), generator=generator).tolist()
        batch = torch.stack([ids[start : start + 96] for start in starts])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, tokenizer, folder / "model")
    return folder / "model", written(folder / "known.jsonl", known), written(folder / "rows.jsonl", kept)


def written(file: Path, texts: list[str]) -> Path:
    """A file of rows."""
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return file


def measure(model: Path, data: Path, method: str, backend: str, output: Path) -> dict[str, Any]:
    """One export: perplexity before and after, bytes, seconds; or why there is none."""
    words = [f"model.model_id={model}", f"data.dataset_name={data}", f"export.method={method}"]
    words.append(f"export.output_dir={output}")
    if method in COMPARED:
        words.append(f"export.backend={backend}")
    if method in CALIBRATED:
        words.append("export.calibration_samples=128")
    started = time.perf_counter()
    try:
        result = export(load_infer_run(None, words))
    except SwiftError as error:
        return {"failed": str(error).splitlines()[-2]}
    seconds = time.perf_counter() - started
    before, after = result.perplexity or (float("nan"), float("nan"))
    return {"before": before, "after": after, "bytes": result.size[1], "seconds": seconds}


def aware(folder: Path, model: Path, known: Path, data: Path, steps: int, qat: str) -> dict[str, Any]:
    """Perplexity before and after plain rounding to 2 bits, after more steps with or without qat."""
    words = [f"model.model_id={model}", f"data.dataset_name={known}", "data.max_length=96"]
    words += [f"train.output_dir={folder}", f"train.max_steps={steps}", "train.learning_rate=1e-3"]
    words += ["train.stage=pt", "train.tuner_strategy=full", f"train.qat={qat}", "train.qat_group_size=32"]
    train_in_process(load_run(None, words))
    words = [f"model.model_id={folder}", f"data.val_dataset_name={data}", "export.method=gptq"]
    words += ["export.rounding=nearest", "export.bits=2", "export.group_size=32"]
    result = export(load_infer_run(None, [*words, f"export.output_dir={folder}-2"]))
    before, after = result.perplexity or (float("nan"), float("nan"))
    return {"before": before, "after": after}


def main() -> None:
    """Print one line for each method and side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=300, help="of learning without --model")
    parser.add_argument("--methods", nargs="+", default=[*COMPARED, "bnb-nf4", "bnb-int8", "gguf"])
    parser.add_argument("--qat", type=int, metavar="STEPS", help="compare training for few bits instead")
    given = parser.parse_args()
    if (given.model is None) != (given.data is None):
        parser.error("--model and --data go together")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        model, known, data = (
            (given.model, given.data, given.data) if given.model else learned(folder, given.steps)
        )
        if given.qat:
            for qat in ("null", "int2"):
                figures = aware(folder / f"qat-{qat}", model, known, data, given.qat, qat)
                print(json.dumps({"steps": given.qat, "qat": qat, **figures}), flush=True)
            return
        for method in given.methods:
            for backend in ("own", "llmcompressor") if method in COMPARED else ("own",):
                figures = measure(model, data, method, backend, folder / f"{method}-{backend}")
                print(json.dumps({"method": method, "backend": backend, **figures}), flush=True)


if __name__ == "__main__":
    main()
