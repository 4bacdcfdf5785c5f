"""Starting sandboxed plugins from their text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swift.plugin.sandbox import SandboxLimits, load_sandboxed
from swift.plugin.sandbox.offers import Offer

Load = Callable[..., dict[str, Offer]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """load(text, native=..., **limits) -> offers by name; every process is ended behind the tests."""
    started: list[Any] = []

    def start(text: str, native: dict[str, Path] | None = None, **limits: Any) -> dict[str, Offer]:
        file = tmp_path_factory.mktemp("plugin") / "plugin.py"
        file.write_text(text)
        offers = load_sandboxed(file, SandboxLimits(**limits), native=native)
        started.extend(offer.target for offer in offers)
        return {offer.name: offer for offer in offers}

    yield start
    for target in started:
        target.process.close()
