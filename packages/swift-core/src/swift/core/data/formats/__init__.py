"""One recogniser a format: a row of any well-known layout becomes one Conversation."""

from swift.core.data.formats.recognise import FORMATS, Format, recognise, to_conversation

__all__ = ["FORMATS", "Format", "recognise", "to_conversation"]
