"""The name of a cache entry: a fingerprint of everything that decides which samples come out."""

from __future__ import annotations

import datetime
import functools
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import swift.core.data
import swift.core.template
from swift.core.data.cache_store import NotStorable
from swift.core.data.rows import RunRows
from swift.core.data.source import Source
from swift.core.protocols import Template
from swift.core.registry import agent_formats, datasets, filters, loss_scales, templates
from swift.core.template.chat import ChatTemplate
from swift.core.template.own import OwnTemplate
from swift.core.types import Task

WITHOUT_EFFECT = frozenset({"cache_dir", "group_by_length", "packing", "padding_free", "streaming"})
"""Keys of the data section that change no sample; every other one takes part, new ones too."""

RUN_TIME = frozenset({"tokenizer", "media", "statistics", "renderer", "closing", "backend", "shapes"})
"""What a template holds beside its settings: it follows from the tokenizer, or serves rows with media, which
are never kept."""

PACKAGES = ("swift-core", "tokenizers", "transformers", "datasets", "jinja2", "orjson")
DEEPEST = 12
"""Levels of settings within settings."""

REGISTRIES = (agent_formats, datasets, filters, loss_scales, templates)
"""Parts of plugins that decide samples."""


def cache_key(rows: RunRows, template: Template, task: Task) -> str:
    """The fingerprint of a run's samples, in hexadecimal digits.

    It covers the bytes of the data (its rows, where it is not files alone or filters run), the data section,
    the seed, the tokenizer and its chat template, the settings of ours, the code that encodes, the libraries'
    versions and the files of plugins that take part.

    Raises:
        NotStorable: the template cannot say what it does.
        DataError: the data cannot be read.
    """
    parts = {
        "data": rows.data.model_dump(mode="json", exclude=set(WITHOUT_EFFECT)),
        "sources": [_identity(source) for source in (*rows.train, *rows.held_out)],
        "rows": rows.digests(),
        "seed": rows.seed,
        "task": task,
        "template": template_fingerprint(template),
        "code": own_code(),
        "versions": {name: _version(name) for name in PACKAGES},
        "plugins": plugin_files(),
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _identity(source: Source) -> list[Any]:
    """Where rows come from: their origins name it."""
    return [
        source.label,
        source.kind,
        [str(file) for file in source.files],
        repr(source.hub),
        source.hub_name,
    ]


def template_fingerprint(template: Template) -> str:
    """What a template makes of rows.

    A template of the user's own says it with fingerprint() -> str, which covers its tokenizer too; the bytes
    of its file and its arguments take part in any case.

    Raises:
        NotStorable: it does not say.
    """
    if isinstance(template, OwnTemplate):
        return template_fingerprint(template.inner)
    own = getattr(template, "fingerprint", None)
    if callable(own):
        return str(own())
    if not isinstance(template, ChatTemplate):
        raise NotStorable(
            f"the template {type(template).__name__} has no fingerprint() that says what it does"
        )
    settings = {
        name: value
        for name, value in vars(template).items()
        if name not in RUN_TIME and not name.startswith("_")
    }
    parts = [_described(type(template)), _described(settings), _tokenizer(template.tokenizer)]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _tokenizer(tokenizer: Any) -> list[Any]:
    source = tokenizer.chat_template
    dated = "strftime_now" in json.dumps(source)
    if not tokenizer.is_fast:
        raise NotStorable(
            f"no fingerprint covers {type(tokenizer).__qualname__}, a tokenizer written in Python"
        )
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # both are settings of a call, not of the tokenizer
    backend.no_padding()
    return [
        _described(type(tokenizer)),
        hashlib.sha256(backend.to_str().encode("utf-8", "surrogatepass")).hexdigest(),
        source,
        {name: str(value) for name, value in tokenizer.special_tokens_map.items()},
        [bool(getattr(tokenizer, name, False)) for name in ("add_bos_token", "add_eos_token")],
        datetime.date.today().isoformat() if dated else None,
    ]


def _described(value: Any, depth: int = 0) -> Any:
    """A setting as JSON, the code of functions and classes by the bytes of their file.

    Raises:
        NotStorable: a value that shows nothing of what it does, or refers to itself.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth > DEEPEST:
        raise NotStorable("the settings of the template refer to themselves")
    inner = functools.partial(_described, depth=depth + 1)
    if isinstance(value, list | tuple):
        return [inner(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(inner(item)) for item in value)
    if isinstance(value, Mapping):
        return [[inner(key), inner(item)] for key, item in value.items()]
    if inspect.isclass(value) or inspect.isroutine(value):
        code: Any = value
        return [code.__module__, code.__qualname__, _source_digest(code)]
    return _of_object(value, inner)


def _of_object(value: Any, inner: Callable[[Any], Any]) -> Any:
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    if isinstance(value, functools.partial):
        return [inner(value.func), inner(value.args), inner(value.keywords)]
    return [inner(type(value)), inner(_state(value))]


def _state(value: Any) -> dict[str, Any]:
    slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
    state = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    if not slots and not hasattr(value, "__dict__"):
        raise NotStorable(f"no fingerprint covers a {type(value).__qualname__} of the template")
    return {**state, **getattr(value, "__dict__", {})}


@functools.cache
def _source_digest(code: Any) -> str:
    """Asked once: what runs is what was there when it was imported."""
    try:
        file = inspect.getsourcefile(code)
    except TypeError:
        file = None
    if file is None or not Path(file).is_file():
        raise NotStorable(f"the code of {code.__qualname__} has no source file")
    return _digest(Path(file))


@functools.cache
def own_code() -> str:
    """SHA-256 of our modules that read, recognise and encode."""
    digest = hashlib.sha256()
    for package in (swift.core.data, swift.core.template):
        folder = Path(next(iter(package.__path__)))
        for file in sorted(folder.rglob("*.py")):
            digest.update(str(file.relative_to(folder)).encode() + b"\0" + bytes.fromhex(_digest(file)))
    return digest.hexdigest()


def plugin_files() -> dict[str, str]:
    """Files and packages outside of swift-core that offer data sets, filters, templates and their parts."""
    files = {
        Path(re.sub(r":\d+$", "", component.place))
        for registry in REGISTRIES
        for component in registry.registered().values()
        if component.place
    }
    return {**{str(file): _digest(file) for file in files if file.is_file()}, **_installed_parts()}


@functools.cache
def _installed_parts() -> dict[str, str]:
    groups = {registry.group for registry in REGISTRIES}
    return {
        f"{entry.group}:{entry.name}": f"{distribution.name} {distribution.version}"
        for distribution in distributions()
        for entry in distribution.entry_points
        if entry.group in groups
    }


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
