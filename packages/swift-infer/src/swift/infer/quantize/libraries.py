"""The library that each method's format is written and read with, looked for before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec

from swift.core.errors import ModelError

LIBRARIES = {
    "awq": "compressed_tensors",
    "bnb-int8": "bitsandbytes",
    "bnb-nf4": "bitsandbytes",
    "fp8": "compressed_tensors",
    "gguf": "gguf",
    "gptq": "compressed_tensors",
    "int8": "compressed_tensors",
}


def check_library(method: str | None) -> None:
    """Refuse a method whose library is missing; plain weights and methods of plugins need none of ours.

    Raises:
        ModelError: it is not installed.
    """
    library = LIBRARIES.get(method or "")
    if library is not None and find_spec(library) is None:
        raise ModelError(
            f"export.method {method!r} needs the package {library.replace('_', '-')}, which is not installed",
            "pip install 'swift-infer[quant]'",
        )
