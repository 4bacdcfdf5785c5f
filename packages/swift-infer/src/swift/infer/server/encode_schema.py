"""Bodies of /v1/embeddings and /v1/rerank."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from swift.infer.server.answers import Absent, Usage
from swift.infer.server.text import Text

MAX_TEXTS = 4096


class Document(BaseModel):
    """A text to rank."""

    text: Text


def _as_document(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


class EmbeddingRequest(BaseModel):
    """POST /v1/embeddings.

    Attributes:
        dimensions: keep so many of a vector, and make it of length 1 again (for Matryoshka models).
        encoding_format: numbers, or the little-endian float32 values in base64.
    """

    model: Text
    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=MAX_TEXTS)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class Embedding(BaseModel):
    """The vector of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens of the inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """Answer of POST /v1/embeddings."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class RerankRequest(BaseModel):
    """POST /v1/rerank, as Jina and Cohere write it."""

    model: Text
    query: Text
    documents: Annotated[
        list[Annotated[Document, BeforeValidator(_as_document, json_schema_input_type=Text | Document)]],
        Field(min_length=1, max_length=MAX_TEXTS),
    ]
    top_n: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    return_documents: bool = False


class Ranked(BaseModel):
    """A document and how relevant it is: the logistic function of the score that training learned, 0 to 1."""

    index: int
    relevance_score: float
    document: Document | None = Absent


class RerankAnswer(BaseModel):
    """Answer of POST /v1/rerank: best first."""

    id: str
    model: str
    results: list[Ranked]
    usage: Usage
