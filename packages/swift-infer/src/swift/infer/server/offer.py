"""From a configuration to the model behind the API."""

from __future__ import annotations

from typing import Any

from swift.core.config.run import RunConfig
from swift.core.engines import facts_of
from swift.core.protocols import ContentFilter, Engine
from swift.core.registry import content_filters
from swift.infer.encode.record import encode_settings
from swift.infer.load import load_engine, served_name
from swift.infer.server.served import ServedModel
from swift.plugin.parts import build_part


def load_offered(run: RunConfig) -> tuple[Engine, Any]:
    """(who answers, tokenizer): the engine, or an encoder for a model that was trained to be one.

    Raises:
        ModelError: model, tokenizer or adapter cannot be loaded.
        EngineError: the engine cannot run this model.
        ConfigError: infer.task is not what the model was trained for.
    """
    settings = encode_settings(run)
    if settings is None:
        return load_engine(run)
    from swift.infer.encode.load import load_encoder

    return load_encoder(run, settings)


def served_model(
    run: RunConfig, loaded: Engine, tokenizer: Any, filters: list[ContentFilter], watched: Engine
) -> ServedModel:
    """The model as the API offers it.

    Args:
        loaded, tokenizer: what load_offered() gave.
        watched: who is asked: loaded, with a supervisor around it.
    """
    return ServedModel(
        name=served_name(run),
        engine=watched,
        tokenizer=tokenizer,
        max_length=facts_of(loaded).max_length or getattr(loaded, "max_length", None),
        defaults=run.infer,
        agent_format=run.data.agent_format,
        filters=filters,
        image_hosts=frozenset(run.server.image_hosts),
        adapter_loading=run.server.allow_adapter_loading,
    )


def build_filters(run: RunConfig) -> list[ContentFilter]:
    """The content filters that infer.content_filters names, in order.

    Raises:
        RegistryError: unknown name.
        ConfigError, PluginError: arguments that one does not take.
    """
    return [build_part(content_filters, part.name, part.config) for part in run.server.content_filters]
