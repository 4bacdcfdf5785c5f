"""Settings of the data section that contradict each other, or name a filter that does not exist."""

from __future__ import annotations

from swift.core.config.schema import DataConfig
from swift.core.errors import ConfigError, RegistryError
from swift.core.registry import filters


def check_settings(data: DataConfig) -> None:
    """Refuse what cannot work together, before anything is read.

    Raises:
        ConfigError: two settings contradict each other.
        RegistryError: a filter that is not registered.
    """
    if data.group_by_length:
        _check_length_groups(data)
    if data.cache_dir is not None and data.streaming:
        raise ConfigError(
            f"data.cache_dir is {data.cache_dir!r} with data.streaming, which keeps nothing that it encodes",
            "remove one of the two",
        )
    for named in data.filters:
        try:
            filters.get(named.name)
        except RegistryError as error:
            raise RegistryError(f"data.filters: {error.problem}", error.remedy) from None


def _check_length_groups(data: DataConfig) -> None:
    reasons = {
        "packing": "packs are nearly all of the same length, data.max_length",
        "padding_free": "batches that are laid flat hold no padding",
        "streaming": "the lengths of a stream are not known in advance",
    }
    for key, reason in reasons.items():
        if getattr(data, key):
            raise ConfigError(
                f"data.group_by_length and data.{key} are both true: {reason}", "remove one of the two"
            )
