"""Who may ask a vLLM server that we manage."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from swift.infer.engines.vllm.plugin.swift_vllm_door import Door


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("VLLM_API_KEY", "a-secret")
    app = FastAPI()
    app.add_middleware(Door)
    for path in ("/health", "/collective_rpc", "/v1/completions"):
        app.add_api_route(path, lambda: "done", methods=["GET", "POST", "OPTIONS"])

    @app.websocket("/v1/realtime")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    return TestClient(app)


@pytest.mark.parametrize("path", ["/collective_rpc", "/v1/completions", "/no/such/path"])
@pytest.mark.parametrize("told", [None, "Bearer a-secre", "Bearer a-secret ", "a-secret", "Basic a-secret"])
def test_nobody_without_the_secret(client: TestClient, path: str, told: str | None) -> None:
    headers = {} if told is None else {"Authorization": told}
    for method in ("GET", "POST", "OPTIONS"):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401 and answer.json()["error"]["message"] == "wrong key"


def test_whoever_has_it_and_health_for_all(client: TestClient) -> None:
    headers = {"Authorization": "Bearer a-secret"}
    assert client.get("/health").status_code == 200
    assert client.post("/collective_rpc", headers=headers).json() == "done"
    with client.websocket_connect("/v1/realtime", headers=headers):
        pass
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/v1/realtime"):
        pass
    assert closed.value.code == 1008
