"""GET /v1/models."""

from __future__ import annotations

from fastapi import FastAPI

from swift.infer.server.schema import ModelCard, ModelList
from swift.infer.server.served import ServedModel


def add_models(app: FastAPI, served: ServedModel) -> None:
    """Add the list of models and the card of one."""

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[_card(served)])

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> ModelCard:
        served.check_name(name)
        return _card(served)


def _card(served: ServedModel) -> ModelCard:
    return ModelCard(id=served.name, created=served.created, max_model_len=served.max_length)
