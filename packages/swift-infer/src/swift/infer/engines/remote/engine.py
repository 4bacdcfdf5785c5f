"""The engine `remote`: any OpenAI-compatible URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from swift.core.engines import EngineSource
from swift.core.errors import EngineError, did_you_mean
from swift.core.types import EngineFacts
from swift.infer.engines.http.client import HttpClient, Limits
from swift.infer.engines.http.dialect import Dialect
from swift.infer.engines.http.engine import HttpEngine
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.http.openai_chat import OPENAI_CONSTRAINTS, VLLM_CONSTRAINTS, ChatDialect
from swift.infer.engines.http.openai_ids import IdsDialect
from swift.infer.engines.remote.config import RemoteEngineConfig
from swift.infer.engines.remote.key import api_key


class RemoteEngine(HttpEngine):
    """A model that somebody else serves.

    Thoughts that a server sends apart from its answer (reasoning_content) are not passed on.

    Args:
        source: its weights are not read; it may name no adapters.
        tokenizer: not needed; the server, or who asks with sends=ids, has one.

    Raises:
        EngineError: no such server, key or model, or adapters that it cannot be given.
    """

    def __init__(
        self, source: EngineSource | None, tokenizer: Any, config: RemoteEngineConfig | None = None
    ) -> None:
        config = config or RemoteEngineConfig()
        if source is not None and source.adapters:
            raise EngineError(
                f"the engine remote cannot load the adapters {', '.join(sorted(source.adapters))}",
                "let the server load them, and name one with infer.model",
            )
        limits = Limits(config.timeout, config.retries, config.connections, through_proxies=True)
        client = HttpClient(checked_url(config.base_url), limits, api_key(config))
        model, max_length = offered(client, config.model)
        ids = config.sends == "ids"
        dialect: Dialect = IdsDialect(model) if ids else ChatDialect(model, config.extended)
        kinds = OPENAI_CONSTRAINTS | VLLM_CONSTRAINTS if ids or config.extended else OPENAI_CONSTRAINTS
        facts = EngineFacts(
            max_length=max_length, reads="ids" if ids else "chat", images=not ids, constraints=kinds
        )
        super().__init__(client, dialect, facts)


def checked_url(url: str | None) -> str:
    """A URL without its trailing slash.

    Raises:
        EngineError: none, not http or https, without a host, or with a password in it.
    """
    if not url:
        raise EngineError("infer.base_url is not set", "the engine remote needs it: https://HOST/v1")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EngineError(f"infer.base_url {url!r} is no URL of an API", "write it as https://HOST/v1")
    if parts.username or parts.password:
        raise EngineError(
            f"infer.base_url of {parts.hostname!r} holds a user's name or password",
            "put the API key into infer.api_key_env or infer.api_key_file",
        )
    return url.rstrip("/")


def offered(client: HttpClient, wanted: str | None) -> tuple[str, int | None]:
    """(name, longest prompt and answer) of the model to ask, by the server's own list.

    A server without that list (404) is believed to have the model.

    Raises:
        EngineError: it cannot be reached, refuses the key, or has no such model.
    """
    try:
        listed = client.get("/models", timeout=min(30.0, client.limits.timeout))
    except ServerFault as fault:
        if wanted is not None and " answers 404" in fault.problem:
            return wanted, None
        raise fault.error() from fault
    cards = listed.get("data") if isinstance(listed, dict) else None
    names = {card["id"]: card for card in cards or () if isinstance(card, dict) and "id" in card}
    if wanted is None and len(names) != 1:
        raise EngineError(
            f"{client.base_url} offers {len(names)} models", f"choose with infer.model: {', '.join(names)}"
        )
    name = wanted or next(iter(names))
    if name not in names:
        raise EngineError(f"{client.base_url} offers no model {name!r}", did_you_mean(name, names))
    return name, names[name].get("max_model_len")
