"""Images in messages: what is read, and what is refused."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import openai
import pytest
from PIL import Image

from swift.infer.server import images
from swift.infer.server.errors import ApiError
from swift.infer.server.images import read_images


def png(width: int = 4, height: int = 3) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def asked(url: str) -> Any:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}]}


def test_images_reach_the_engine(scripted: Any, serve: Any, tiny: Any) -> None:
    served, engine = scripted("red", tokenizer=_seeing(tiny.tokenizer))
    with serve(served) as client:
        client.chat.completions.create(**asked(data_url(png())))
        assert engine.asked[0].images == (png(),)
        assert engine.asked[0].messages[0]["content"] == [
            {"type": "text", "text": "What is it?"},
            {"type": "image"},
        ]
        assert "<IMAGE>" in served.tokenizer.decode(engine.asked[0].prompt_ids)
        with pytest.raises(openai.BadRequestError, match="decoded"):
            client.chat.completions.create(**asked(data_url(b"no image")))


def _seeing(tokenizer: Any) -> Any:
    import copy

    seeing = copy.deepcopy(tokenizer)
    seeing.chat_template = (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
        "{{ '<IMAGE>' if p.type == 'image' else p.text }}{% endfor %}{% endif %}{% endfor %}"
    )
    return seeing


def test_a_model_without_eyes_says_so(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="takes no images"):
        client.chat.completions.create(**asked(data_url(png())))


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("file:///etc/passwd", "files of the server"),
        ("/etc/passwd", "files of the server"),
        ("data:image/png;base64,@@@@", "base64"),
        ("data:image/png;base64,AAA", "base64"),
        ("data:image/svg+xml;base64,PHN2Zy8+", "decoded"),
        (data_url(png()[:40]), "decoded"),
        ("http://example.org/a.png", "not fetched"),
        ("http://[::1/a.png", "cannot be read"),
        ("http://listed.example:99999/a.png", "cannot be read"),
        ("https://listed.example@127.0.0.1/a.png", "not fetched"),
    ],
)
def test_refusals(url: str, word: str) -> None:
    with pytest.raises(ApiError, match=word) as caught:
        read_images([url], {"listed.example"})
    assert caught.value.status == 400 and caught.value.code == "invalid_image"


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ApiError, match="at most 32"):
        read_images([data_url(png())] * 33, ())
    monkeypatch.setattr(images, "MAX_PIXELS", 11)
    with pytest.raises(ApiError, match="4 x 3 pixels"):
        read_images([data_url(png())], ())
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(ApiError, match="larger than 10 bytes"):
        read_images([data_url(png())], ())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        elsewhere = self.path == "/elsewhere"
        self.send_response(302 if elsewhere else 200)
        if elsewhere:
            self.send_header("Location", "/image.png")
        self.end_headers()
        self.wfile.write(png())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_only_listed_hosts_are_asked(port: int) -> None:
    url = f"http://127.0.0.1:{port}/image.png"
    assert read_images([url], {"127.0.0.1"}) == (png(),)
    with pytest.raises(ApiError, match="not fetched"):
        read_images([url], ())
    with pytest.raises(ApiError, match="status 302"):
        read_images([f"http://127.0.0.1:{port}/elsewhere"], {"127.0.0.1"})
    with pytest.raises(ApiError, match="not public"):  # a name that leads into the server's own network
        read_images([f"http://localhost:{port}/image.png"], {"localhost"})
