"""Messages of the API, and what chat templates read of them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from swift.core.types import Message
from swift.infer.server.text import Text, Word


class TextPart(BaseModel):
    """A piece of a message's text."""

    type: Literal["text"]
    text: Text


class ImageUrl(BaseModel):
    """Where an image is: a data: URL, or an address where the server may fetch."""

    url: Word
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(BaseModel):
    """An image in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class CalledFunction(BaseModel):
    """The function of a tool call; the API writes arguments as JSON text, an object is taken too."""

    name: Word
    arguments: dict[str, Any] | str = "{}"

    @field_validator("arguments")
    @classmethod
    def _object(cls, arguments: dict[str, Any] | str) -> dict[str, Any]:
        """Templates serialise arguments themselves."""
        if isinstance(arguments, dict):
            return arguments
        try:
            value = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not valid JSON ({error})") from error
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value


class MadeCall(BaseModel):
    """A call that an earlier turn of the assistant made."""

    id: Text | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """One turn; further keys (reasoning_content, ...) go to the chat template as they are."""

    model_config = ConfigDict(extra="allow")

    role: Word
    content: Text | list[Part] | None = None
    tool_calls: list[MadeCall] | None = None
    tool_call_id: Text | None = None
    name: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("no content")
        return self

    def images(self) -> list[str]:
        """URLs of its images."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.image_url.url for part in parts if isinstance(part, ImagePart)]

    def plain(self) -> Message:
        """As chat templates read it: text as one string, images in their places among the text."""
        message: Message = self.model_dump(exclude_none=True, exclude={"content", "tool_calls", "role"})
        message |= {"role": ROLES.get(self.role, self.role), "content": self._content()}
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump(exclude_none=True) for call in self.tool_calls]
        return message

    def _content(self) -> Any:
        if not isinstance(self.content, list):
            return self.content or ""
        if not self.images():
            return "".join(part.text for part in self.content if isinstance(part, TextPart))
        return [
            {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}
            for part in self.content
        ]


ROLES = {"developer": "system"}
"""OpenAI's newer word for the role that chat templates call system."""
