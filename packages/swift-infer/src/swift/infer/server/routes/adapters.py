"""POST /v1/load_lora_adapter and /v1/unload_lora_adapter, as vLLM writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from swift.core.errors import SwiftError
from swift.infer.load import find_adapter
from swift.infer.server.errors import ApiError
from swift.infer.server.openapi import described
from swift.infer.server.served import ServedModel
from swift.infer.server.text import Word


class LoadAdapter(BaseModel):
    """An adapter folder of the server's, and the model name by which requests choose it."""

    lora_name: Word
    lora_path: Word


class UnloadAdapter(BaseModel):
    """The name of a loaded adapter."""

    lora_name: Word


def add_adapters(app: FastAPI, served: ServedModel) -> None:
    """Add what changes the adapters on offer; refused unless infer.allow_adapter_loading is set."""
    changing = asyncio.Lock()  # one at a time: a name is free or taken

    @app.post("/v1/load_lora_adapter", **described(text=True))
    async def load(body: LoadAdapter) -> PlainTextResponse:
        _check_allowed(served)
        folder = await asyncio.to_thread(_folder, body.lora_path)
        async with changing:
            if body.lora_name == served.name or body.lora_name in served.facts.adapters:
                raise ApiError(
                    f"the name {body.lora_name!r} is taken: unload that adapter first, or choose another",
                    param="lora_name",
                    code="name_taken",
                )
            await _done(lambda: served.engine.load_adapter(body.lora_name, folder), "lora_path")
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    @app.post("/v1/unload_lora_adapter", **described(text=True))
    async def unload(body: UnloadAdapter) -> PlainTextResponse:
        _check_allowed(served)
        async with changing:
            if served.adapter(body.lora_name) is None:
                raise ApiError(
                    f"{body.lora_name!r} is the model itself", param="lora_name", code="invalid_value"
                )
            await _done(lambda: served.engine.unload_adapter(body.lora_name), "lora_name")
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


def _check_allowed(served: ServedModel) -> None:
    if not served.adapter_loading:
        raise ApiError(
            "this server does not let clients change adapters: set infer.allow_adapter_loading",
            status=403,
            code="not_allowed",
        )
    if not served.facts.loads_adapters:
        raise ApiError("this engine cannot load adapters", code="unsupported")


def _folder(path: str) -> Path:
    try:
        folder = find_adapter(Path(path)) if "\0" not in path else None
    except OSError:  # a name longer than the file system takes, or not ours to read
        folder = None
    if folder is None:
        raise ApiError(
            f"{path!r} is no adapter folder on the server", param="lora_path", code="invalid_value"
        )
    return folder


async def _done(act: Callable[[], None], param: str) -> None:
    try:
        await asyncio.to_thread(act)
    except SwiftError as error:
        raise ApiError(str(error).replace("\n  -> ", ": "), param=param, code="adapter_refused") from error
