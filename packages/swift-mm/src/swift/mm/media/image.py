"""Images as RGB, upright, whatever they are stored as."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from swift.core.errors import DataError
from swift.mm.media.source import read_bytes, shown


def load_image(source: Any, origin: str) -> Image.Image:
    """An image in RGB, turned as its EXIF orientation says; transparent parts lie on white.

    Args:
        source: path, file:, data: or http(s): URL, bytes, PIL image, or {"bytes", "path"} as in `datasets`.
        origin: the row that names the source; errors repeat it.

    Raises:
        DataError: missing, not an image, cut short, or too large to be decoded safely.
    """
    if isinstance(source, Mapping):
        source = source.get("bytes") or source.get("path") or source.get("url")
    if isinstance(source, Image.Image):
        return _decoded(source, "an image in memory", origin)
    if isinstance(source, str | Path):
        content = read_bytes(source, origin)
    elif isinstance(source, bytes | bytearray):
        content = bytes(source)
    else:
        raise DataError(
            f"{origin}: {type(source).__name__} is not an image", "give a path, a URL, bytes or a PIL image"
        )
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise DataError(
            f"{origin}: {shown(source)} is not an image that pillow can read",
            "convert it to PNG or JPEG; data.on_error=skip leaves such rows out",
        ) from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{origin}: {shown(source)} is too large: {error}", "scale the image down") from error
    return _decoded(image, shown(source), origin)


def _decoded(image: Image.Image, name: str, origin: str) -> Image.Image:
    try:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))
    except (
        OSError,
        SyntaxError,
        ValueError,
    ) as error:  # pillow's ways to say that data end early or are damaged
        raise DataError(
            f"{origin}: {name} is damaged: {error}",
            "fetch or export the file again; data.on_error=skip leaves such rows out",
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """8 bits a channel, no alpha: 16-bit grey keeps its range, transparency becomes white."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        image = Image.alpha_composite(white, colours)
    return image if image.mode == "RGB" else image.convert("RGB")
