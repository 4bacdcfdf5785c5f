"""The template of a run: ours, or the one that data.template names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swift.core.config.schema import DataConfig
from swift.core.errors import ConfigError
from swift.core.protocols import Template
from swift.core.registry import templates
from swift.core.template.agent.build import build_agent_format
from swift.core.template.agent.convert import plain_conversation
from swift.core.template.chat import ChatTemplate
from swift.core.template.loss_scale.scales import build_loss_scales
from swift.core.template.media import MediaFamily
from swift.core.template.own import OwnTemplate
from swift.core.template.render import Renderer
from swift.core.types import Conversation, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def build_template(
    data: DataConfig, tokenizer: PreTrainedTokenizerBase, task: Task, media: MediaFamily | None
) -> Template:
    """What turns rows into samples.

    Raises:
        ConfigError: keys that the chosen template would not read.
        RegistryError: an unknown template, agent format or loss scale.
        PluginError: one of the user's own breaks its contract.
    """
    if data.template is not None:
        return _own(data, data.template, tokenizer, task, media)
    if data.template_config:
        raise ConfigError(
            f"data.template_config is {data.template_config}, but data.template names no template",
            "name a registered template, or leave its arguments out",
        )
    return ChatTemplate(
        tokenizer,
        max_length=data.max_length,
        truncation=data.truncation,
        loss_turns=data.loss_turns,
        task=task,
        media=media,
        agent=build_agent_format(data.agent_format) if data.agent_format is not None else None,
        scales=build_loss_scales(data.loss_scale),
    )


def shown_rows(
    rows: Sequence[Conversation], data: DataConfig, tokenizer: PreTrainedTokenizerBase
) -> list[Conversation]:
    """Rows as the chat template is given them: with data.agent_format, tools and calls are plain text."""
    if data.agent_format is None:
        return list(rows)
    agent, shows_system = build_agent_format(data.agent_format), Renderer(tokenizer).shows_system
    return [plain_conversation(row, agent, shows_system) for row in rows]


def _own(
    data: DataConfig,
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    media: MediaFamily | None,
) -> OwnTemplate:
    component = templates.get(name)
    for key in ("agent_format", "loss_scale"):
        if getattr(data, key):
            raise ConfigError(
                f"data.{key} is set, but the template {name!r} of data.template decides that itself",
                "leave one of the two out, or give it to the template in data.template_config",
            )
    return OwnTemplate(
        component,
        data.template_config,
        tokenizer,
        max_length=data.max_length,
        truncation=data.truncation,
        loss_turns=data.loss_turns,
        task=task,
        media=media,
    )
