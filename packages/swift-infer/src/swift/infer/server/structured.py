"""What an answer must look like, in the words of OpenAI (response_format) and vLLM (structured_outputs)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from swift.core.types import Constraint
from swift.infer.server.text import Text, Word

Schema = dict[str, Any] | bool
"""A JSON schema; true and false are schemas too."""


class NamedSchema(BaseModel):
    """json_schema of a response format. Answers match the schema whether strict is set or not."""

    model_config = ConfigDict(protected_namespaces=())

    name: Text = "answer"
    description: Text | None = None
    schema_: Schema = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class TextFormat(BaseModel):
    """Any text."""

    type: Literal["text"]


class ObjectFormat(BaseModel):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(BaseModel):
    """JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")]


class StructuredOutputs(BaseModel):
    """vLLM's structured_outputs: exactly one of these."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    json_: Schema | Text | None = Field(None, alias="json")
    json_object: bool | None = None
    regex: Word | None = None
    choice: Annotated[list[Word], Field(min_length=1)] | None = None
    grammar: Word | None = None

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        if len(self.constraints()) != 1:
            raise ValueError("give exactly one of json, json_object, regex, choice, grammar")
        return self

    def constraints(self) -> list[Constraint]:
        """What is asked for; one, once it is checked."""
        found = []
        if self.json_ is not None:
            found.append(Constraint("json_schema", schema_text(self.json_)))
        if self.json_object:
            found.append(Constraint("json_object"))
        if self.regex is not None:
            found.append(Constraint("regex", self.regex))
        if self.choice is not None:
            found.append(Constraint("choice", json.dumps(self.choice, ensure_ascii=False)))
        if self.grammar is not None:
            found.append(Constraint("grammar", self.grammar))
        return found


def schema_text(schema: Schema | str) -> str:
    """A schema as JSON text."""
    return schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False)


def format_constraint(wanted: Any) -> Constraint | None:
    """What a response format demands."""
    if isinstance(wanted, SchemaFormat):
        return Constraint("json_schema", schema_text(wanted.json_schema.schema_))
    return Constraint("json_object") if isinstance(wanted, ObjectFormat) else None
