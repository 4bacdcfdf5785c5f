"""From a configuration to a loaded model with its adapter, and to the engine that serves it."""

from __future__ import annotations

import contextlib
import json
import shutil
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.config.run import RunConfig, load_run
from swift.core.errors import ConfigError, ModelError
from swift.core.models.adapter_folder import CONFIGS, adapter_file, adapter_record, tuner_of

if TYPE_CHECKING:
    import torch

    from swift.core.protocols import Engine
    from swift.core.types import Head


def load_infer_run(path: Path | None, overrides: Sequence[str]) -> RunConfig:
    """A checked configuration whose model and adapter are resolved.

    model.model_id or model.adapter may name the output folder of a run. Where only an adapter is named, the
    base model is the one that it, or the run that made it, records.

    Raises:
        ConfigError: a key that cannot be used.
        ModelError: model.adapter holds no adapter, or its base is unknown.
    """
    run = load_run(path, overrides)
    named = find_adapter(Path(run.model.model_id))
    if named is not None and run.model.adapter is None:
        return load_run(path, [*overrides, f"model.adapter={named}", *_base(named)])
    if run.model.adapter is None:
        whole = Path(run.model.model_id) / "final"
        if (whole / "config.json").is_file():
            return load_run(path, [*overrides, f"model.model_id={whole}"])
        return run
    adapter = find_adapter(Path(run.model.adapter))
    if adapter is None:
        raise ModelError(
            f"model.adapter {run.model.adapter!r} holds no adapter ({' or '.join(CONFIGS)})",
            "name an adapter folder, or the output folder of a run that trained one",
        )
    resolved = load_run(path, [*overrides, f"model.adapter={adapter}"])
    if _names_model(path, overrides):
        return resolved
    return load_run(path, [*overrides, f"model.adapter={adapter}", *_base(adapter)])


def find_adapter(folder: Path) -> Path | None:
    """The folder itself, or its part `final`, when it holds an adapter."""
    for candidate in (folder, folder / "final"):
        if adapter_file(candidate) is not None:
            return candidate
    return None


def load_engine(run: RunConfig) -> tuple[Engine, Any]:
    """The engine that infer.engine names, with its adapters; (engine, tokenizer).

    The tokenizer is None for an engine whose model is elsewhere and that reads messages.

    Raises:
        ModelError: model, tokenizer or an adapter cannot be loaded.
        EngineError: the engine cannot run this model or serve these adapters.
    """
    from swift.core.engines import EngineSource, facts_of, is_elsewhere, loads_weights
    from swift.core.models.load import load_processor, load_tokenizer
    from swift.core.models.plain import reads_images
    from swift.core.registry import engines
    from swift.infer.quantize.formats import check_readable
    from swift.infer.source import adapter_folders, engine_source
    from swift.plugin.nouns import build_noun

    name = run.infer.engine
    if is_elsewhere(name):
        told = EngineSource("", adapters=adapter_folders(run.infer.adapters))
        engine = build_noun(engines, name, told, None, config=run.engine)
        return engine, load_tokenizer(run.model) if facts_of(engine).reads == "ids" else None
    check_readable(Path(run.model.model_id), name)
    if loads_weights(name):
        source, tokenizer, made = engine_source(run)
        with removed_on_failure(made):
            engine = build_noun(engines, name, source, tokenizer, config=run.engine)
        for folder in made:
            weakref.finalize(engine, shutil.rmtree, folder, ignore_errors=True)
        return engine, tokenizer
    model, tokenizer = load_adapted(run)
    reader = load_processor(run.model) if reads_images(model) else tokenizer
    engine = build_noun(engines, name, model, reader, config=run.engine)
    for adapter, folder in adapter_folders(run.infer.adapters).items():
        engine.load_adapter(adapter, folder)
    return engine, tokenizer


@contextlib.contextmanager
def removed_on_failure(folders: Sequence[Path]) -> Iterator[None]:
    """Delete temporary folders when the block fails."""
    try:
        yield
    except BaseException:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def load_adapted(run: RunConfig, head: Head | None = None) -> tuple[Any, Any]:
    """(model with its adapter, tokenizer); an adapter's own tokenizer comes first.

    Args:
        head: another output than next-token logits.
    """
    from swift.core.models.load import load_model, load_tokenizer
    from swift.core.registry import tuners
    from swift.infer.adapter_base import check_base

    device = inference_device(run)
    model = load_model(
        run.model, dtype=inference_dtype(run, device), device=device, seed=run.loop.seed, head=head
    )
    source = run.model
    if run.model.adapter is not None:
        folder = Path(run.model.adapter)
        check_base(folder, model.config.to_dict(), run.model.model_id)
        model = tuners.build(tuner_of(folder)).load(model, folder)
        if hasattr(model, "merge_adapter"):  # what is no change of the weights stays beside them
            model.merge_adapter()  # the same answers in a third of the time: no extra products in every layer
        if (folder / "tokenizer_config.json").is_file():
            source = run.model.model_copy(update={"model_id": str(folder), "revision": None})
    return model.eval(), load_tokenizer(source)


def inference_device(run: RunConfig) -> torch.device:
    """The device that device.device asks for; auto: the first GPU that there is.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if run.device.device == "cuda" and not available:
        raise ConfigError("device.device is 'cuda', but torch sees no GPU", "set device.device=cpu or auto")
    return torch.device("cuda" if available and run.device.device != "cpu" else "cpu")


def inference_dtype(run: RunConfig, device: torch.device) -> torch.dtype:
    """train.dtype; auto: bfloat16 on a GPU that has it, float32 elsewhere."""
    import torch

    if run.loop.dtype == "auto":
        fits = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fits else torch.float32
    dtype: torch.dtype = getattr(torch, run.loop.dtype)
    return dtype


def served_name(run: RunConfig) -> str:
    """infer.served_model_name; else infer.model, by which a model elsewhere is asked; else the last part of
    the adapter's or model's name."""
    named: str | None = run.server.served_model_name or getattr(run.engine, "model", None)
    if named:
        return named
    path = Path(run.model.adapter or run.model.model_id)
    return path.parent.name if path.name == "final" else path.name


def _names_model(path: Path | None, overrides: Sequence[str]) -> bool:
    from swift.core.config.document import Document, override, read_document

    document = read_document(path) if path is not None else Document()
    for assignment in overrides:
        override(document, assignment)
    return "model_id" in (document.values.get("model") or {})


def _base(adapter: Path) -> list[str]:
    """Overrides that load the base of an adapter, by its own record or that of its run."""
    run = next((file for file in (adapter / "run.json", adapter.parent / "run.json") if file.is_file()), None)
    sections = _read(run).get("config", {}) if run is not None else {}
    recorded = adapter_record(adapter).get("base_model_name_or_path")
    model_id = recorded or sections.get("model", {}).get("model_id")
    if not model_id:
        raise ModelError(f"adapter {str(adapter)!r} does not record its base model", "name it: --model PATH")
    # the random weights of tiny models follow the seed
    return [f"model.model_id={model_id}", f"train.seed={sections.get('train', {}).get('seed', 42)}"]


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error
    return value if isinstance(value, dict) else {}
