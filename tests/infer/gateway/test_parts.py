"""Keys, log and interrupts by themselves."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from swift.core.config.schema import ServerConfig
from swift.core.errors import ConfigError
from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.interrupt import Interrupt
from swift.infer.server.gateway.keys import ApiKeys, read_keys
from swift.infer.server.gateway.log import RequestLog


def test_keys_have_names() -> None:
    keys = ApiKeys({"anna": "sk-a", "bert": "schlüssel"})
    assert keys.name_of(b"Bearer sk-a") == "anna"
    assert keys.name_of("bearer schlüssel".encode()) == "bert"
    for wrong in (None, b"", b"Bearer", b"Bearer ", b"Basic sk-a", b"Bearer sk-", b"Bearer sk-ab", b"\xff"):
        with pytest.raises(ApiError) as error:
            keys.name_of(wrong)
        assert error.value.status == 401 and error.value.headers == {"WWW-Authenticate": "Bearer"}


def test_every_key_is_compared_whichever_fits(monkeypatch: Any) -> None:
    import hmac

    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(kept: bytes, sent: bytes) -> bool:
        compared.append(kept)
        return real(kept, sent)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = ApiKeys({str(number): f"key-{number}" for number in range(5)})
    assert keys.name_of(b"Bearer key-0") == "0"
    assert len(compared) == 5 and all(len(digest) == 32 for digest in compared)


def config(**keys: Any) -> ServerConfig:
    return ServerConfig.model_validate(keys)


def test_a_file_adds_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("anna: sk-a\nbert: 'sk-b'\n")
    keys = read_keys(config(api_keys={"carl": "sk-c"}, api_keys_file=str(file)))
    assert [keys.name_of(f"Bearer sk-{letter}".encode()) for letter in "abc"] == ["anna", "bert", "carl"]


@pytest.mark.parametrize(
    ("text", "own", "says"),
    [
        (None, {}, "cannot be read"),
        ("", {}, "holds no keys"),
        ("- sk-secret", {}, "holds no keys"),
        ("a: 5", {}, "holds no keys"),
        ("a: 'sk-secret", {}, "cannot be read"),
        ("a: sk-secret", {"a": "other"}, "'a' is in infer.api_keys and in its file"),
        ("a: sk-secret", {"b": "sk-secret"}, "'b' and 'a' have the same API key"),
        ("a: ' '", {}, "is empty"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path: Path, text: str | None, own: dict[str, str], says: str) -> None:
    file = tmp_path / "keys.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=says) as error:
        read_keys(config(api_keys=own, api_keys_file=str(file)))
    assert "sk-secret" not in str(error.value)


def test_no_line_of_the_log_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "requests.jsonl"
    log = RequestLog(file)

    def write(letter: str) -> None:
        for number in range(500):
            log.write({"request_id": f"{letter}{number}"})

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    log.close()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({row["request_id"] for row in rows}) == 2000 and all("time" in row for row in rows)


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="request_log"):
        RequestLog(tmp_path)


def test_an_interrupt_becomes_the_error() -> None:
    async def scene() -> None:
        handle = Interrupt()
        asyncio.get_running_loop().call_later(0.01, handle.interrupt, ApiError("late", 504))
        cleaned = False
        with pytest.raises(ApiError, match="late"), handle:
            try:
                await asyncio.sleep(10)
            finally:
                cleaned = True
        assert cleaned
        await asyncio.sleep(0)  # the task goes on as if nothing had been
        handle.interrupt(ApiError("too late"))
        await asyncio.sleep(0)

    asyncio.run(scene())


def test_a_cancellation_by_others_stays_one() -> None:
    async def scene() -> None:
        async def work() -> None:
            with Interrupt():
                await asyncio.sleep(10)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
