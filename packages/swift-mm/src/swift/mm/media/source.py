"""The bytes of a medium, wherever a row says they are."""

from __future__ import annotations

import base64
import binascii
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlparse

from swift.core.errors import DataError

URL_TIMEOUT_SECONDS = 20


def read_bytes(source: str | Path, origin: str) -> bytes:
    """Content of a path, or of a file:, data: or http(s): URL.

    Args:
        origin: the row that names the source; errors repeat it.

    Raises:
        DataError: it does not exist or cannot be read.
    """
    text = str(source)
    if text.startswith("data:"):
        return _data_url(text, origin)
    if text.startswith(("http://", "https://")):
        return _fetch(text, origin)
    path = Path(unquote_to_bytes(urlparse(text).path).decode()) if text.startswith("file://") else Path(text)
    try:
        return path.expanduser().read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{origin}: file {str(path)!r} does not exist",
            "relative paths start at the folder of the data file; data.on_error=skip leaves such rows out",
        ) from None
    except OSError as error:
        raise DataError(f"{origin}: file {str(path)!r} cannot be read: {error.strerror}") from error


def shown(source: object) -> str:
    """A source as errors name it: paths and URLs in full, data by its size."""
    if isinstance(source, bytes | bytearray):
        return f"an image of {len(source):,} bytes"
    text = str(source)
    return f"{text[:40]}... ({len(text):,} characters)" if text.startswith("data:") else repr(text)


def _data_url(text: str, origin: str) -> bytes:
    head, comma, body = text.partition(",")
    if not comma:
        raise DataError(
            f"{origin}: {shown(text)} is not a data URL: it has no comma", "write data:image/png;base64,..."
        )
    if not head.endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise DataError(f"{origin}: {shown(text)} is not valid base64: {error}") from error


def _fetch(url: str, origin: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=URL_TIMEOUT_SECONDS) as answer:
            content: bytes = answer.read()
            return content
    except (urllib.error.URLError, TimeoutError) as error:
        raise DataError(
            f"{origin}: {url!r} cannot be fetched: {error}", "download the file and name its path instead"
        ) from error
