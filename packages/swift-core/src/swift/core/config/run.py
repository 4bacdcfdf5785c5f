"""From a document to a run: sections are split among the configs that own their keys, and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from swift.core.config.document import SHORT_FOR, Document, override, read_document
from swift.core.config.registered import check_registered
from swift.core.config.schema import (
    BenchmarkConfig,
    CheckpointConfig,
    Config,
    DataConfig,
    DeviceConfig,
    EvalConfig,
    ExportConfig,
    InferConfig,
    LoadTestConfig,
    LoggingConfig,
    LoopConfig,
    ModelConfig,
    OptimConfig,
    PluginsConfig,
    SampleConfig,
    ServerConfig,
)
from swift.core.config.sections import (
    CHOICES,
    SECTIONS,
    Choice,
    Values,
    key_owners,
    objective_name,
)
from swift.core.config.wrong import remedy_for_key, remedy_for_section, validated
from swift.core.errors import ConfigError, RegistryError, did_you_mean
from swift.core.registry import REGISTRIES
from swift.plugin.load import load_plugins


@dataclass(frozen=True)
class RunConfig:
    """Everything a run was asked to do, checked; each part belongs to one component."""

    model: ModelConfig
    data: DataConfig
    loop: LoopConfig
    optim: OptimConfig
    checkpoint: CheckpointConfig
    logging: LoggingConfig
    device: DeviceConfig
    infer: InferConfig
    server: ServerConfig
    sample: SampleConfig
    eval: EvalConfig
    benchmark: BenchmarkConfig
    load_test: LoadTestConfig
    export: ExportConfig
    plugins: PluginsConfig
    objective: BaseModel | None = None
    tuner: BaseModel | None = None
    strategy: BaseModel | None = None
    engine: BaseModel | None = None
    quantizer: BaseModel | None = None
    folder: Path | None = None

    @property
    def objective_name(self) -> str:
        """Which objective train.stage and data.task_type choose together."""
        return str(objective_name(self.loop.stage, {"data": {"task_type": self.data.task_type}}))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Sections with every key resolved, as YAML would hold them; parse_run() reads it back."""
        sections: dict[str, dict[str, Any]] = {}
        for section, parts in SECTIONS.items():
            names = [*parts, *(choice.part for choice in CHOICES.get(section, ()))]
            configs = [config for name in names if (config := getattr(self, name)) is not None]
            sections[section] = {
                key: value for config in configs for key, value in config.model_dump(mode="json").items()
            }
        return sections


def load_run(
    path: Path | None, overrides: Sequence[str] = (), defaults: Mapping[str, Any] | None = None
) -> RunConfig:
    """Read a YAML file, apply overrides, and check every key.

    Args:
        path: YAML file; None starts from nothing.
        overrides: "section.key=value" in the order given.
        defaults: dotted keys that count only where file and overrides are silent (a command's stage).

    Raises:
        ConfigError: any key that cannot be used, with its file and line.
        RegistryError: a chosen component does not exist.
    """
    document = read_document(path) if path is not None else Document()
    for assignment in overrides:
        override(document, assignment)
    for dotted, value in (defaults or {}).items():
        section, key = dotted.split(".")
        below = document.values.setdefault(section, {})
        if isinstance(below, dict):
            below.setdefault(key, value)
    return parse_run(document, path.resolve().parent if path is not None else None)


def load_run_plugins(path: Path | None, overrides: Sequence[str] = ()) -> None:
    """Load only the plugins that a YAML file and overrides name; nothing else is checked.

    Raises:
        ConfigError, PluginError: one of them cannot be found or loaded.
    """
    document = read_document(path) if path is not None else Document()
    for assignment in overrides:
        override(document, assignment)
    _load_plugins(document, path.resolve().parent if path is not None else None)


def run_from_dict(sections: Mapping[str, Any], folder: Path | None = None) -> RunConfig:
    """A run from plain values, such as RunConfig.to_dict() wrote."""
    return parse_run(Document(values=json.loads(json.dumps(sections))), folder)


def parse_run(document: Document, folder: Path | None = None) -> RunConfig:
    """Check a document; nothing is imported, opened or downloaded but the configs themselves."""
    for section in document.values:
        if section not in SECTIONS:
            raise ConfigError(
                f"{document.place((section,))}: unknown section {section!r}", remedy_for_section(section)
            )
    values = {section: _section_values(document, section) for section in SECTIONS}
    _load_plugins(document, folder)
    parts: dict[str, BaseModel | None] = {}
    for section, classes in SECTIONS.items():
        parts.update(_split(section, values, classes, document))
    return RunConfig(**parts, folder=folder)  # type: ignore[arg-type]


def _load_plugins(document: Document, folder: Path | None) -> None:
    values = _section_values(document, "plugins")
    _check_keys("plugins", values, key_owners(SECTIONS["plugins"], "plugins"), document)
    config = validated(PluginsConfig, values, "plugins", document)
    load_plugins(config, folder)
    for name in config.fallback:
        if not any(name in registry for registry in REGISTRIES.values()):
            known = {part for registry in REGISTRIES.values() for part in registry.registered()}
            place = document.place(("plugins", "fallback", name))
            raise RegistryError(
                f"{place}: 'plugins.fallback' names {name!r}, which nothing registers",
                did_you_mean(name, known),
            )


def _section_values(document: Document, section: str) -> dict[str, Any]:
    values = document.values.get(section)
    if values is None:
        return {}
    if section in SHORT_FOR and isinstance(values, str | list):
        return {SHORT_FOR[section]: values}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{document.place((section,))}: section {section!r} holds {values!r}, not keys",
            f"write keys below '{section}:'",
        )
    return values


def _split(
    section: str, sections: Values, classes: Mapping[str, type[Config]], document: Document
) -> dict[str, BaseModel | None]:
    """Give each config the keys it owns; a key that none of the chosen ones owns is an error."""
    values = sections[section]
    chosen: dict[str, type[BaseModel] | None] = dict(classes)
    for choice in CHOICES.get(section, ()):
        name = values[choice.key] if choice.key in values else _installed_default(choice, classes)
        chosen[choice.part] = _component_config(choice, choice.refine(name, sections), section, document)
    configs = {part: config for part, config in chosen.items() if config is not None}
    owners = key_owners(configs, section)
    _check_keys(section, values, owners, document)
    parts: dict[str, BaseModel | None] = dict.fromkeys(chosen)
    for part, config in configs.items():
        own = {key: value for key, value in values.items() if owners[key] == part}
        parts[part] = valid = validated(config, own, section, document)
        check_registered(valid, own, section, document)
    return parts


def _check_keys(
    section: str, values: Mapping[str, Any], owners: Mapping[str, str], document: Document
) -> None:
    for key in values:
        if key not in owners:
            remedy = remedy_for_key(section, key, owners)
            raise ConfigError(f"{document.place((section, key))}: unknown key '{section}.{key}'", remedy)


def _installed_default(choice: Choice, classes: Mapping[str, type[Config]]) -> Any:
    """The default choice, or None where no installed package brings it: only its use is an error."""
    name = next(
        config.model_fields[choice.key].default
        for config in classes.values()
        if choice.key in config.model_fields
    )
    return name if name in choice.registry else None


def _component_config(choice: Choice, name: Any, section: str, document: Document) -> type[BaseModel] | None:
    if name is None:
        return None
    place = document.place((section, choice.key))
    if not isinstance(name, str):
        raise ConfigError(
            f"{place}: '{section}.{choice.key}' is {name!r}, not a name",
            f"known names: {', '.join(choice.registry.names())}",
        )
    try:
        return choice.registry.get(name).config
    except RegistryError as error:
        raise RegistryError(f"{place}: '{section}.{choice.key}': {error.problem}", error.remedy) from None
