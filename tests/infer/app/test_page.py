"""The page as a browser uses it: `swift app` in a process of its own, asked by gradio's own client."""

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from swift.core.errors import EngineError
from swift.infer.app.client import text_of
from swift.infer.app.page import said

SWIFT = [sys.executable, "-c", "from swift.infer.cli import main; main()"]
NONE = (None,) * 3


class Page:
    """A process, and where it listens."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url


def started(*arguments: str) -> Page:
    command = [*SWIFT, "app", "--port", "0", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROXY": "*"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        ready = re.match(r"ready: (http\S+)", line)
        if ready:
            return Page(process, ready[1])
    raise AssertionError(f"ended with {process.wait()}")


def ended(page: Page) -> int:
    page.process.send_signal(signal.SIGTERM)
    try:
        return page.process.wait(30)
    finally:
        page.process.kill()


@pytest.fixture(scope="module")
def page(tiny_model_dir) -> Iterator[Page]:
    shown = started("--model", str(tiny_model_dir), 'infer.api_keys={ann: "secret-of-ann"}')
    yield shown
    assert ended(shown) == 0


@pytest.fixture(scope="module")
def browser(page) -> Client:
    return Client(page.url, auth=("ann", "secret-of-ann"), verbose=False)


def test_lists_the_models_of_the_server(browser, tiny_model_dir):
    offered = browser.predict(None, api_name="/models")
    assert offered["value"] == tiny_model_dir.name


def test_answers_come_piece_by_piece_and_are_those_of_the_api(browser, page, tiny_model_dir):
    question = {"text": "Hello", "files": []}
    job = browser.submit(question, "", tiny_model_dir.name, 8, 0.0, *NONE, api_name="/chat")
    pieces = list(job)
    body = {
        "model": tiny_model_dir.name,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 8,
        "temperature": 0,
    }
    headers = {"Authorization": "Bearer secret-of-ann"}
    answer = httpx.post(f"{page.url}/v1/chat/completions", json=body, headers=headers).json()
    assert pieces[-1] == answer["choices"][0]["message"]["content"]
    assert len(pieces) > 1
    assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(pieces))


def test_a_refusal_of_the_server_is_shown(browser):
    with pytest.raises(AppError, match="the model 'nobody' does not exist"):
        browser.predict({"text": "Hello", "files": []}, "", "nobody", 8, 0.0, *NONE, api_name="/chat")


def test_an_error_is_plain_text_and_no_traceback():
    shown = said(EngineError("'<image>' is missing"))
    assert shown.message == "'&lt;image&gt;' is missing"
    assert not shown.print_exception


def test_nobody_gets_in_without_a_key(page):
    with pytest.raises(Exception, match=r"[Ii]nvalid|[Cc]ould not|incorrect|401"):
        Client(page.url, auth=("ann", "wrong"), verbose=False)
    assert httpx.get(f"{page.url}/v1/models").status_code == 401
    assert "Hello" not in httpx.get(f"{page.url}/config").text


def test_the_page_asks_for_nothing_from_elsewhere(page):
    html = httpx.get(page.url, follow_redirects=True).text
    fetched = re.findall(r'(?:src|href)="(https?://[^"]+)"', html)
    assert [url for url in fetched if not url.startswith(page.url) and "gradio" not in url] == []
    assert "fonts.googleapis" not in html


def test_a_page_for_a_server_elsewhere(page, monkeypatch):
    monkeypatch.setenv("PAGE_KEY", "secret-of-ann")
    other = started("--url", page.url, "--api-key-env", "PAGE_KEY")
    try:
        offered = Client(other.url, verbose=False).predict(None, api_name="/models")
        assert offered["choices"]
    finally:
        assert ended(other) == 0


def test_a_page_without_its_key_or_server_says_so():
    missing = subprocess.run(
        [*SWIFT, "app", "--port", "0", "--url", "http://127.0.0.1:9", "--api-key-env", "NO_SUCH_KEY"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert missing.returncode == 2
    assert "'NO_SUCH_KEY' is not set" in missing.stderr


def test_a_failure_in_a_stream_is_an_error():
    with pytest.raises(EngineError, match="out of memory"):
        text_of('data: {"error": {"message": "out of memory"}}')
    assert text_of('data: {"choices": [{"delta": {"content": "a"}}]}') == "a"
    assert text_of("data: [DONE]") == text_of(": ping") == ""
