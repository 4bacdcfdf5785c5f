"""The page as a process: beside a model of its own, or for a server elsewhere."""

from __future__ import annotations

import importlib.util
import os
import socket

from swift.core.config.run import RunConfig
from swift.core.errors import ConfigError, EngineError


def serve_with_page(run: RunConfig, listener: socket.socket) -> None:
    """Load the model; answer requests of the API and of the page until told to stop.

    Raises:
        EngineError: gradio is not installed, or the engine died for good.
    """
    _check_installed()
    from swift.infer.app.mount import with_page
    from swift.infer.load import served_name
    from swift.infer.server.gateway.keys import read_keys
    from swift.infer.server.serve import serve

    serve(run, listener, around=with_page(listener, read_keys(run.server), served_name(run)))


def show_page(url: str, api_key_env: str | None, listener: socket.socket) -> None:
    """The page alone until told to stop.

    Raises:
        ConfigError: the variable that should hold the key is not set.
        EngineError: gradio is not installed.
    """
    key = None
    if api_key_env is not None:
        key = os.environ.get(api_key_env)
        if not key:
            raise ConfigError(
                f"the environment variable {api_key_env!r} is not set", "export the key of --url"
            )
    _check_installed()
    from swift.infer.app.client import ChatClient
    from swift.infer.app.mount import page_app
    from swift.infer.server.run import Server

    client = ChatClient(url, key)
    Server(page_app(lambda name: client, url), listener).serve_forever()


def _check_installed() -> None:
    if importlib.util.find_spec("gradio") is None:
        raise EngineError("the page needs gradio, which is not installed", "pip install 'swift-infer[app]'")
