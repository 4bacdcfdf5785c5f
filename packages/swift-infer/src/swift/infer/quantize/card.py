"""README.md of an exported model: what it was made of, how, what that cost, how to load it."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.config.run import RunConfig
from swift.core.models.stored import gguf_file
from swift.infer.quantize.formats import readers, stored_format

if TYPE_CHECKING:
    from swift.infer.quantize.export import Exported


def write_card(folder: Path, run: RunConfig, exported: Exported, model_class: str) -> None:
    """Write README.md, and copy the licence files of the base.

    Args:
        model_class: of transformers, that loads such a model.
    """
    parts = [
        _head(run),
        _title(run, exported),
        *_origin(run),
        *_figures(exported),
        *_loading(folder, exported, model_class),
    ]
    (folder / "README.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    base = Path(run.model.model_id)
    for file in sorted(base.glob("LICENSE*")) if base.is_dir() else []:
        shutil.copy2(file, folder / file.name)


def _head(run: RunConfig) -> str:
    """The front matter that model hubs read."""
    tags = [tag for tag in (run.export.method, "swift") if tag]
    lines = ["---", f"base_model: {json.dumps(run.model.model_id)}", f"tags: {json.dumps(tags)}"]
    found = licence(Path(run.model.model_id))
    return "\n".join([*lines, *([f"license: {found}"] if found else []), "---"])


def licence(base: Path) -> str | None:
    """What the model card of the base says in its front matter."""
    card = base / "README.md"
    if not card.is_file():
        return None
    _, _, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    head = rest.partition("\n---")[0]
    lines = (line.partition(":") for line in head.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "license"), None)


def _title(run: RunConfig, exported: Exported) -> str:
    return f"\n# {exported.folder.name}\n\n{run.model.model_id}, " + (
        f"quantised with {run.export.method}." if run.export.method else "as plain weights."
    )


def _origin(run: RunConfig) -> list[str]:
    rows: dict[str, Any] = {"base": run.model.model_id}
    if run.model.adapter is not None:
        rows["merged adapter"] = run.model.adapter
    rows["method"] = run.export.method or "none"
    if run.quantizer is not None:
        rows |= run.quantizer.model_dump(mode="json")
    rows["swift-infer"] = version("swift-infer")
    return ["\n## Made of\n", *(f"- {name}: {_value(value)}" for name, value in rows.items())]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _figures(exported: Exported) -> list[str]:
    before, after = exported.size
    lines = ["\n## Figures\n", "| | before | after |", "|---|---|---|"]
    lines.append(f"| weights, bytes | {before:,} | {after:,} |")
    if exported.perplexity is not None:
        lines.append("| perplexity | {:.3f} | {:.3f} |".format(*exported.perplexity))
    tokens = exported.tokens
    count = sum(len(row) for row in tokens.held_out)
    read = len(tokens.calibration)
    calibrated = f"calibrated on {read} rows" if read else "without calibration"
    lines.append(
        f"\nMeasured on {len(tokens.held_out)} held-out rows ({count:,} tokens), {calibrated}; "
        f"data: {tokens.described}. SHA-256 of the token ids: `{tokens.fingerprint}`."
    )
    return lines


def _loading(folder: Path, exported: Exported, model_class: str) -> list[str]:
    name = exported.folder.name
    able = readers(folder)
    file = gguf_file(folder)
    lines = [
        f"\n## Load\n\nFormat: {stored_format(folder).described}; engines that read it: {', '.join(able)}.\n",
        *_loading_by_transformers(name, file, model_class),
        "\n```bash",
    ]
    lines += [f"swift serve --model {name} --engine {engine}" for engine in able[:2]]
    if "vllm" in able:
        lines.append(f"vllm serve {name}")
    if file is not None:
        lines.append(f"llama-cli -m {name}/{file.name}")
    return [*lines, "```"]


def _loading_by_transformers(name: str, file: Path | None, model_class: str) -> list[str]:
    """Python that loads the folder; of GGUF transformers reads no head_dim, which config.json has."""
    classes = [model_class, "AutoProcessor" if "Image" in model_class else "AutoTokenizer"]
    extra = f', config=config, gguf_file="{file.name}"' if file is not None else ""
    configured = [f'config = AutoConfig.from_pretrained("{name}")'] if file is not None else []
    imported = ["AutoConfig", *classes] if file is not None else classes
    reader = "processor" if classes[1] == "AutoProcessor" else "tokenizer"
    return [
        "```python",
        f"from transformers import {', '.join(imported)}",
        "",
        *configured,
        f'model = {model_class}.from_pretrained("{name}"{extra})',
        f'{reader} = {classes[1]}.from_pretrained("{name}")',
        "```",
    ]
