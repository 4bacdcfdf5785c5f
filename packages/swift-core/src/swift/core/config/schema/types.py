"""Types that keys of several sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
