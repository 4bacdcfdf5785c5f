"""GET /v1/models."""

from __future__ import annotations

from fastapi import FastAPI

from swift.infer.server.answers import ModelCard, ModelList
from swift.infer.server.openapi import described
from swift.infer.server.served import ServedModel


def add_models(app: FastAPI, served: ServedModel) -> None:
    """Add the list of models and the card of one."""

    @app.get("/v1/models", **described(ModelList))
    async def models() -> ModelList:
        return ModelList(data=[_card(served, name) for name in (served.name, *served.facts.adapters)])

    @app.get("/v1/models/{name:path}", **described(ModelCard))
    async def model(name: str) -> ModelCard:
        served.adapter(name)
        return _card(served, name)


def _card(served: ServedModel, name: str) -> ModelCard:
    parent = None if name == served.name else served.name
    return ModelCard(id=name, created=served.created, max_model_len=served.max_length, parent=parent)
