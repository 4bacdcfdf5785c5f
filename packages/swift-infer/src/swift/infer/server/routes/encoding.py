"""POST /v1/embeddings and /v1/rerank."""

from __future__ import annotations

import asyncio
import base64
import math
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from fastapi import FastAPI, Request

from swift.core.errors import DataError
from swift.infer.encode.encoder import Encoder, Result
from swift.infer.encode.texts import Ids
from swift.infer.server.answers import Usage
from swift.infer.server.encode_schema import (
    Embedding,
    EmbeddingAnswer,
    EmbeddingRequest,
    EmbeddingUsage,
    Ranked,
    RerankAnswer,
    RerankRequest,
)
from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.openapi import described
from swift.infer.server.prompting import filtered
from swift.infer.server.served import ServedModel

Body = TypeVar("Body", EmbeddingRequest, RerankRequest)


def add_encoding(app: FastAPI, served: ServedModel, gateway: Gateway) -> None:
    """Add what turns texts into vectors and scores."""

    @app.post("/v1/embeddings", **described(EmbeddingAnswer))
    async def embeddings(body: EmbeddingRequest, request: Request) -> EmbeddingAnswer:
        encoder = _encoder(served, body.model, "embeddings")
        texts = await _tokens("input", _input, served, encoder, body)
        vectors = await _encoded(encoder, texts, gateway, body.model, request)
        data = [
            Embedding(index=index, embedding=_written(_cut(vector, body.dimensions), body.encoding_format))
            for index, vector in enumerate(vectors)
        ]
        count = sum(map(len, texts))
        usage = EmbeddingUsage(prompt_tokens=count, total_tokens=count)
        return EmbeddingAnswer(data=data, model=body.model, usage=usage)

    @app.post("/v1/rerank", **described(RerankAnswer))
    async def rerank(body: RerankRequest, request: Request) -> RerankAnswer:
        encoder = _encoder(served, body.model, "rerank")
        texts = await _tokens("documents", _pairs, served, encoder, body)
        scores = [float(score) for score in await _encoded(encoder, texts, gateway, body.model, request)]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.top_n]
        results = [
            Ranked(
                index=index,
                relevance_score=logistic(scores[index]),
                document=body.documents[index] if body.return_documents else None,
            )
            for index in order
        ]
        count = sum(map(len, texts))
        usage = Usage(prompt_tokens=count, total_tokens=count)
        return RerankAnswer(id=f"rerank-{uuid.uuid4().hex}", model=body.model, results=results, usage=usage)


def _encoder(served: ServedModel, name: str, endpoint: str) -> Encoder:
    served.adapter(name)
    encoder = served.encoder
    if encoder is None or encoder.endpoint != endpoint:
        can = f"use /v1/{encoder.endpoint}" if encoder else "it writes text"
        task = "data.task_type=embedding" if endpoint == "embeddings" else "data.task_type=reranker"
        raise ApiError(
            f"the model {name!r} was not trained for /v1/{endpoint}: {can} (train one: {task})",
            param="model",
            code="wrong_task",
        )
    return encoder


async def _tokens(
    param: str,
    read: Callable[[ServedModel, Encoder, Body], list[Ids]],
    served: ServedModel,
    encoder: Encoder,
    body: Body,
) -> list[Ids]:
    try:
        return await asyncio.to_thread(read, served, encoder, body)
    except DataError as error:
        code = "context_length_exceeded" if "this model reads" in error.problem else "invalid_value"
        raise ApiError(
            f"{error.problem}: {error.remedy}" if error.remedy else error.problem, param=param, code=code
        ) from error


def _input(served: ServedModel, encoder: Encoder, body: EmbeddingRequest) -> list[Ids]:
    given: Sequence[str | int | list[int]] = [body.input] if isinstance(body.input, str) else body.input
    texts = [filtered(served, text) for text in given if isinstance(text, str)]
    if texts:
        return encoder.reader.texts(texts)
    rows = [row for row in given if isinstance(row, list)]
    tokens = [token for token in given if isinstance(token, int)]
    return [encoder.reader.known(row, number) for number, row in enumerate(rows or [tokens])]


def _pairs(served: ServedModel, encoder: Encoder, body: RerankRequest) -> list[Ids]:
    documents = [filtered(served, document.text) for document in body.documents]
    return encoder.reader.pairs(filtered(served, body.query), documents)


async def _encoded(
    encoder: Encoder, texts: list[Ids], gateway: Gateway, model: str, request: Request
) -> list[Result]:
    count = sum(map(len, texts))
    async with gateway.admitted(request.scope, request.receive, model=model, tokens=count) as exchange:
        exchange.prompt_tokens = count
        return await encoder.encode(texts)


def _cut(vector: Result, dimensions: int | None) -> Result:
    """The first dimensions of a vector, of length 1 again."""
    if dimensions is None:
        return vector
    if dimensions > len(vector):
        raise ApiError(
            f"dimensions is {dimensions}: this model's vectors have {len(vector)}",
            param="dimensions",
            code="invalid_value",
        )
    kept = vector[:dimensions]
    length = float(np.linalg.norm(kept))
    return kept / length if length else kept


def _written(vector: Result, how: str) -> list[float] | str:
    if how == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


def logistic(score: float) -> float:
    """1 / (1 + exp(-score)), without overflow."""
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    grown = math.exp(score)
    return grown / (1 + grown)
