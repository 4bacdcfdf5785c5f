"""The filters of swift-core, declared without loading them."""

from __future__ import annotations

from swift.core.registry import Component

LENGTH = Component(
    name="length",
    target="swift.core.data.filter_builtin:LengthFilter",
    summary="keep rows of min to max characters",
)

REGEX = Component(
    name="regex",
    target="swift.core.data.filter_builtin:RegexFilter",
    summary="drop (or keep) rows in which a pattern is found",
)

DEDUPLICATE = Component(
    name="deduplicate",
    target="swift.core.data.filter_builtin:DeduplicateFilter",
    summary="keep one of the rows of a data set that say the same",
)
