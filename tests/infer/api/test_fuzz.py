"""Requests made from the API's own document, right and wrong: no answer is a crash, each is as documented.

Longer: SWIFT_FUZZ_EXAMPLES=300 pytest tests/infer/api/test_fuzz.py
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from swift.core.config.schema import ServerConfig
from swift.core.types import EngineFacts
from swift.infer.constraints import KINDS
from swift.infer.server.app import create_app
from swift.infer.server.gateway.gateway import Gateway

EXAMPLES = int(os.environ.get("SWIFT_FUZZ_EXAMPLES", "12"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


ROUTES = [
    ("/v1/chat/completions", "POST"),
    ("/v1/completions", "POST"),
    ("/v1/embeddings", "POST"),
    ("/v1/rerank", "POST"),
    ("/v1/load_lora_adapter", "POST"),
    ("/v1/unload_lora_adapter", "POST"),
    ("/v1/models", "GET"),
    ("/v1/models/{name}", "GET"),
    ("/health", "GET"),
    ("/ready", "GET"),
    ("/metrics", "GET"),
]


@pytest.fixture
def document(scripted: Any) -> Any:
    """The OpenAPI document of an app whose engine says a short text."""
    facts = EngineFacts(max_length=256, constraints=KINDS, images=True, loads_adapters=True)
    served, _ = scripted("A short answer.", facts, max_length=256, adapter_loading=True)
    app = create_app(served, Gateway(ServerConfig.model_validate({})))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_the_document_has_every_route(document: Any) -> None:
    documented = {
        (path, method.upper()) for path, item in document.raw_schema["paths"].items() for method in item
    }
    assert documented == set(ROUTES)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_no_request_breaks_the_server(document: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = document[path][method]
    if mode is GenerationMode.NEGATIVE and "{" not in path and method == "GET":
        pytest.skip("nothing can be wrong with it")
    statuses: list[int] = []

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), named=st.booleans())
    def attempt(case: Any, named: bool) -> None:
        if named and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "tiny"  # else nearly every request ends at an unknown model
        statuses.append(case.call_and_validate(checks=CHECKS).status_code)

    attempt()
    assert statuses and max(statuses) < 500
