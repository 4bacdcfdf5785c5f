"""The page as a part of a server."""

from __future__ import annotations

import socket
from collections.abc import Callable

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp

from swift.infer.app.beside import Beside
from swift.infer.app.client import ChatClient
from swift.infer.app.page import ClientOf, build_page, theme
from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.keys import ApiKeys


class Clients:
    """One client for each person: with keys, the page asks with the key of who has logged in.

    Args:
        keys: what the server accepts; none: everybody may ask.
    """

    def __init__(self, url: str, keys: ApiKeys) -> None:
        self._url, self._keys = url, keys
        self._known: dict[str | None, ChatClient] = {} if keys else {None: ChatClient(url)}

    def log_in(self, name: str, key: str) -> bool:
        """Whether a key is known and has that name."""
        try:
            known = self._keys.name_of(b"Bearer " + key.encode()) == name
        except ApiError:
            return False
        if known:
            self._known[name] = ChatClient(self._url, key)
        return known

    def of(self, name: str | None) -> ChatClient:
        """The client of a person who has logged in, or of everybody."""
        return self._known[name]


def page_app(client_of: ClientOf, title: str, log_in: Callable[[str, str], bool] | None = None) -> FastAPI:
    """The page alone, as an ASGI app; with a login where the server asks for keys."""
    app: FastAPI = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        build_page(client_of, title),
        path="/",
        theme=theme(),
        auth=log_in,
        auth_message="Name and key, as in infer.api_keys" if log_in else None,
        ssr_mode=False,  # needs a node server
        run_history=False,
        footer_links=["settings"],
    )
    return app


def with_page(listener: socket.socket, keys: ApiKeys, title: str) -> Callable[[FastAPI], ASGIApp]:
    """What puts the page beside the API that listens on a socket."""
    clients = Clients(local_url(listener), keys)
    log_in = clients.log_in if keys else None
    return lambda api: Beside(api, page_app(clients.of, title, log_in))


def local_url(listener: socket.socket) -> str:
    """How this machine reaches a listening socket, whatever address it is bound to."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
