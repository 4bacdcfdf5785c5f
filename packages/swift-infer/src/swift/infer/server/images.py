"""Images of a request: out of data: URLs, or from hosts that the server's owner listed."""

from __future__ import annotations

import base64
import binascii
import io
import ipaddress
import re
import socket
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import httpx
from PIL import Image, UnidentifiedImageError

from swift.infer.server.errors import ApiError
from swift.infer.server.text import printable

MAX_IMAGES = 32
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
FETCH_SECONDS = 10.0

_DATA = re.compile(r"data:(?:image/[\w.+-]+)?(?:;[\w=-]+)*?;base64,", re.ASCII | re.IGNORECASE)


def read_images(urls: Sequence[str], hosts: Collection[str]) -> tuple[bytes, ...]:
    """Encoded files, each seen to be an image of bearable size.

    Args:
        hosts: where http and https URLs may point.

    Raises:
        ApiError: too many, elsewhere, too large, or none that can be decoded.
    """
    if len(urls) > MAX_IMAGES:
        raise _wrong(f"{len(urls)} images; at most {MAX_IMAGES} are read")
    return tuple(_checked(_bytes(url, hosts), number) for number, url in enumerate(urls))


def _bytes(url: str, hosts: Collection[str]) -> bytes:
    match = _DATA.match(url)
    if match is not None:
        return _decoded(url[match.end() :])
    scheme = url.partition(":")[0].lower()
    if scheme in ("http", "https"):
        return _fetched(url, hosts)
    raise _wrong(
        f"an image URL begins with {printable(url[:30])!r}: send data:image/...;base64,... "
        "(files of the server are not read)"
    )


def _decoded(text: str) -> bytes:
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise _wrong(f"an image is larger than {MAX_BYTES} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(f"an image is not valid base64: {error}") from error


def _checked(data: bytes, number: int) -> bytes:
    """The file, if it decodes to a bearable number of pixels."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _wrong(
                    f"image {number} has {width} x {height} pixels; at most {MAX_PIXELS} in all are read"
                )
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _wrong(f"image {number} cannot be decoded as {', '.join(FORMATS)}: {error}") from error
    return data


def _fetched(url: str, hosts: Collection[str]) -> bytes:
    """One GET without redirects, to the very address that was looked up and found harmless."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _wrong(f"an image URL cannot be read: {error}") from error
    if host not in hosts:
        raise _wrong(
            f"images are not fetched from {printable(host)!r}: send them as data: URLs, "
            "or let the server list the host in infer.image_hosts"
        )
    address = _address(host, port or (443 if parts.scheme == "https" else 80))
    netloc = f"[{address}]" if ":" in address else address
    target = parts._replace(netloc=f"{netloc}:{port}" if port else netloc).geturl()
    try:
        return _got(target, parts.netloc.rpartition("@")[2], host)
    except httpx.HTTPError as error:
        raise _wrong(f"the image of {host} cannot be fetched: {type(error).__name__}: {error}") from error


def _got(target: str, netloc: str, host: str) -> bytes:
    with (
        httpx.Client(timeout=FETCH_SECONDS, follow_redirects=False, trust_env=False) as client,
        client.stream("GET", target, headers={"Host": netloc}, extensions={"sni_hostname": host}) as response,
    ):
        if response.status_code != 200:
            raise _wrong(f"the image of {host} cannot be fetched: status {response.status_code}")
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > MAX_BYTES:
                raise _wrong(f"an image is larger than {MAX_BYTES} bytes")
        return bytes(data)


def _address(host: str, port: int) -> str:
    """A host's address; one that is not of the public internet only where the list names it itself.

    A name that the list holds may be pointed anywhere by whoever runs its DNS, also at this machine's own
    network.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _wrong(f"the host {host!r} is not known: {error}") from error
    address = str(found[0][4][0])
    if not ipaddress.ip_address(address).is_global:
        raise _wrong(f"the host {host!r} has the address {address}, which is not public")
    return address


def _wrong(message: str) -> ApiError:
    return ApiError(message, param="messages", code="invalid_image")
