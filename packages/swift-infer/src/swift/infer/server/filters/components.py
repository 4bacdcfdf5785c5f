"""The content filters, as the registry knows them."""

from __future__ import annotations

from swift.core.registry import Component

sensitive_words = Component(
    name="sensitive_words",
    target="swift.infer.server.filters.sensitive_words:SensitiveWords",
    summary="blocks or masks listed words, in English and Chinese, in whole answers and in streams",
)
