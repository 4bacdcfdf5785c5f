"""Values inside the cells of a row, as formats read and as errors quote them."""

from __future__ import annotations

import json
from typing import Any

from swift.core.errors import DataError


def parse_json(text: str, what: str, origin: str) -> Any:
    """JSON inside a cell.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        problem = f"{origin}: the {what} {shortened(text)} is not JSON: {error}"
        raise DataError(problem, "correct the row") from None


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
