"""The page of all keys."""

from __future__ import annotations

from swift.core.config.help import config_help
from swift.core.config.sections import SECTIONS, all_keys


def test_every_key_of_every_component_is_explained() -> None:
    page = config_help()
    lines = [line.strip() for line in page.splitlines()]
    for section, keys in all_keys().items():
        assert f"{section}:" in lines
        for key in keys:
            explained = [line for line in lines if line.startswith(f"{key}: ")]
            assert explained, f"{section}.{key}"
            assert all(line.rpartition("; ")[2] for line in explained), f"{section}.{key} has no description"
    assert set(all_keys()) == set(SECTIONS)
