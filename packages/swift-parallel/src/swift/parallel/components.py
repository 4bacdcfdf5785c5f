"""The strategies this package offers; loads no torch."""

from __future__ import annotations

from swift.core.registry import Component
from swift.parallel.ddp.config import DdpConfig

ddp = Component(
    name="ddp",
    target="swift.parallel.ddp.strategy:DdpStrategy",
    config=DdpConfig,
    summary="every process holds the whole model and reads its share of each batch (arXiv 2006.15704)",
)
