"""Images become upright RGB, or an error that names the row, the file and what to do."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from swift.core.errors import DataError
from swift.mm.commands.media_check import command
from swift.mm.media.image import load_image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def stripes() -> Image.Image:
    """40 x 20: the left half red, the right half blue."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    return image


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_way_to_name_an_image_gives_the_same_pixels(tmp_path: Path) -> None:
    content = stored(stripes())
    path = tmp_path / "with space.png"
    path.write_bytes(content)
    sources = [
        path, str(path), path.as_uri(), content, stripes(), {"bytes": content, "path": None},
        {"bytes": None, "path": str(path)}, "data:image/png;base64," + base64.b64encode(content).decode(),
    ]  # fmt: skip
    for source in sources:
        assert load_image(source, "row").tobytes() == stripes().tobytes(), source


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    turned = load_image(stored(stripes(), "PNG", exif=exif), "row")
    assert turned.size == (20, 40)
    assert turned.getpixel((10, 5)) == RED and turned.getpixel((10, 35)) == BLUE


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert load_image(stripes().convert(mode), "row").mode == "RGB"


def test_transparent_parts_are_white_and_16_bit_grey_keeps_its_range() -> None:
    assert load_image(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "row").getpixel((0, 0)) == (255, 255, 255)
    assert load_image(Image.new("I;16", (2, 2), 32768), "row").getpixel((0, 0)) == (128, 128, 128)


def test_errors_name_the_row_the_file_and_the_fault(tmp_path: Path) -> None:
    missing, text, cut = tmp_path / "missing.png", tmp_path / "text.png", tmp_path / "cut.jpg"
    text.write_text("this is not an image")
    noise = Image.effect_noise((200, 200), 90)
    cut.write_bytes(stored(noise, "JPEG")[:2000])
    for source, fault in [
        (missing, "does not exist"),
        (text, "is not an image"),
        (cut, "is damaged"),
        (b"GIF89a", "an image of 6 bytes"),
        ("data:image/png;base64,####", "not valid base64"),
        (tmp_path, "cannot be read"),
        (17, "int is not an image"),
    ]:
        with pytest.raises(DataError, match=rf"data.json:3: .*{fault}"):
            load_image(source, "data.json:3")


def test_media_check_counts_sizes_and_lists_every_bad_file(tmp_path: Path) -> None:
    stripes().save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    rows = [
        {"prompt": f"<image>Is it {name}?", "response": "Yes.", "images": [f"{name}.png"]}
        for name in ("good", "bad", "gone")
    ]  # fmt: skip
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows))
    result = CliRunner().invoke(command, [str(data)], standalone_mode=False)
    assert result.return_value == 1
    assert "3 rows, 3 with media" in result.output and "1 images of 40 x 20" in result.output
    assert "bad.png' is not an image" in result.output and "gone.png' does not exist" in result.output
    data.write_text(json.dumps(rows[:1]))
    result = CliRunner().invoke(command, [str(data)], standalone_mode=False)
    assert result.return_value == 0 and "0 bad" in result.output
