"""The sections of a document and whose keys they hold: fixed configs, and those of chosen components."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

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
from swift.core.errors import RegistryError
from swift.core.registry import Registry, engines, objectives, quantizers, strategies, tuners

logger = logging.getLogger(__name__)


Values = Mapping[str, Mapping[str, Any]]


def _own_name(name: Any, values: Values) -> Any:
    return name


@dataclass(frozen=True)
class Choice:
    """A part of a section that another key chooses: train.stage chooses an objective's config.

    Attributes:
        refine: the chosen name, given the key's value and all sections.
    """

    part: str
    key: str
    registry: Registry
    refine: Callable[[Any, Values], Any] = _own_name


def objective_name(stage: Any, values: Values) -> Any:
    """The objective: with stage sft, a task type that is one of its own (seq_cls, ...) chooses it."""
    task = values.get("data", {}).get("task_type")
    return task if stage == "sft" and isinstance(task, str) and task in objectives else stage


SECTIONS: dict[str, dict[str, type[Config]]] = {
    "model": {"model": ModelConfig},
    "data": {"data": DataConfig},
    "train": {
        "loop": LoopConfig,
        "optim": OptimConfig,
        "checkpoint": CheckpointConfig,
        "logging": LoggingConfig,
    },
    "device": {"device": DeviceConfig},
    "infer": {"infer": InferConfig, "server": ServerConfig, "sample": SampleConfig},
    "eval": {"eval": EvalConfig, "benchmark": BenchmarkConfig, "load_test": LoadTestConfig},
    "export": {"export": ExportConfig},
    "plugins": {"plugins": PluginsConfig},
}


CHOICES: dict[str, tuple[Choice, ...]] = {
    "train": (
        Choice("objective", "stage", objectives, objective_name),
        Choice("tuner", "tuner_strategy", tuners),
    ),
    "device": (Choice("strategy", "parallel_method", strategies),),
    "infer": (Choice("engine", "engine", engines),),
    "export": (Choice("quantizer", "method", quantizers),),
}


def key_owners(configs: Mapping[str, type[BaseModel]], section: str) -> dict[str, str]:
    """Which part owns each key of a section.

    Raises:
        RegistryError: two parts that are active together claim one key.
    """
    owners: dict[str, str] = {}
    for part, config in configs.items():
        for key in config.model_fields:
            if key in owners:
                raise RegistryError(
                    f"the key '{section}.{key}' is claimed by the {owners[key]} and by the {part} config",
                    "a key belongs to exactly one component: rename one of them",
                )
            owners[key] = part
    return owners


def component_configs(registry: Registry) -> Iterator[tuple[str, type[BaseModel]]]:
    """Name and config of each component that has one; a broken package does not hide the others."""
    for name in registry.names():
        try:
            config = registry.get(name).config
        except RegistryError as error:
            logger.warning("%s", error)
            continue
        if config is not None:
            yield name, config


def all_keys() -> dict[str, set[str]]:
    """Every key of every section, those of components that are not chosen included."""
    return {
        section: {key for config in section_configs(section) for key in config[1].model_fields}
        for section in SECTIONS
    }


def section_configs(section: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """(heading, config class) of every config that can own keys of a section, for help pages."""
    yield from SECTIONS[section].items()
    for choice in CHOICES.get(section, ()):
        for name, config in component_configs(choice.registry):
            yield f"{choice.key}: {name}", config
