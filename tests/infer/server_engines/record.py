"""Writes down what an engine's own package takes: options of its command line, and fields of its requests.

Run by the interpreter of the engine's environment, which `swift engines install NAME` makes:
    PYTHON tests/infer/server_engines/record.py NAME > tests/infer/server_engines/records/NAME.json
It imports the engine and the standard library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import sys
from typing import Any


def vllm() -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    from vllm.platforms import current_platform

    current_platform.device_type = current_platform.device_type or "cuda"  # its options need one to be listed
    from vllm.entrypoints.cli.serve import make_arg_parser
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.rl.online.api_router import router as weights
    from vllm.entrypoints.scale_out.token_in_token_out.protocol import GenerateRequest
    from vllm.entrypoints.serve.dev.cache.api_router import router as caches
    from vllm.entrypoints.serve.dev.rpc.api_router import router as calls
    from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest, UnloadLoRAAdapterRequest
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    paths = {
        str(getattr(route, "path", "")) for router in (weights, caches, calls) for route in router.routes
    }
    requests = {
        "/v1/completions": sorted(CompletionRequest.model_fields),
        "/inference/v1/generate": sorted(GenerateRequest.model_fields),
        "sampling_params": sorted(SamplingParams.__struct_fields__),
        "structured_outputs": sorted(field.name for field in dataclasses.fields(StructuredOutputsParams)),
        "paths": sorted(paths),
        "/v1/load_lora_adapter": sorted(LoadLoRAAdapterRequest.model_fields),
        "/v1/unload_lora_adapter": sorted(UnloadLoRAAdapterRequest.model_fields),
    }
    return make_arg_parser(FlexibleArgumentParser()), requests


def sglang() -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    from sglang.srt.managers import io_struct  # type: ignore[import-not-found]
    from sglang.srt.sampling.sampling_params import SamplingParams  # type: ignore[import-not-found]
    from sglang.srt.server_args import ServerArgs  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    requests = {
        "/generate": sorted(field.name for field in dataclasses.fields(io_struct.GenerateReqInput)),
        "sampling_params": sorted(SamplingParams.__struct_fields__),
        "/load_lora_adapter": sorted(io_struct.LoadLoRAAdapterReqInput.__struct_fields__),
        "/unload_lora_adapter": sorted(io_struct.UnloadLoRAAdapterReqInput.__struct_fields__),
        "/update_weights_from_disk": sorted(io_struct.UpdateWeightFromDiskReqInput.__struct_fields__),
    }
    return parser, requests


def lmdeploy() -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    from lmdeploy.cli.serve import SubCliServe  # type: ignore[import-not-found]
    from lmdeploy.serve.openai.protocol import (  # type: ignore[import-not-found]
        ChatCompletionRequest,
        GenerateReqInput,
        ResponseFormat,
    )
    from peft import LoraConfig

    SubCliServe.add_parsers()
    requests = {
        "/v1/chat/completions": sorted(ChatCompletionRequest.model_fields),
        "/generate": sorted(GenerateReqInput.model_fields),
        "response_format": sorted(ResponseFormat.model_fields),
        "adapter_config.json": sorted(field.name for field in dataclasses.fields(LoraConfig)),
    }
    return SubCliServe.subparsers.choices["api_server"], requests


ENGINES = {"vllm": vllm, "sglang": sglang, "lmdeploy": lmdeploy}


def option(action: argparse.Action) -> dict[str, Any]:
    """What a word of the command line must be."""
    choices = None if action.choices is None else [choice for choice in action.choices if choice is not None]
    if isinstance(action.choices, set | frozenset):
        choices = sorted(choices or ())
    return {
        "flags": list(action.option_strings),
        "dest": action.dest,
        "type": None if action.nargs == 0 else kind(action.type),
        "choices": choices,
        "nargs": action.nargs,
    }


def kind(convert: Any) -> str:
    """int, float, json or str, by what a converter takes."""
    if convert in (None, str) or takes(convert, "word"):
        return "str"
    if takes(convert, '{"a": 1}'):
        return "json"
    if takes(convert, "0.5"):
        return "float"
    return "int" if takes(convert, "7") else "str"


def takes(convert: Any, word: str) -> bool:
    """Whether a converter raises nothing."""
    try:
        convert(word)
    except Exception:  # noqa: BLE001 - converters of other packages raise what they like
        return False
    return True


def version(name: str) -> str:
    """Of the first distribution that brings the engine."""
    for distribution in (name, f"{name}-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{distribution} {importlib.metadata.version(distribution)}"
    raise SystemExit(f"{name} is not installed here")


def main(name: str) -> None:
    """Print the record of one engine, one option a line."""
    with contextlib.redirect_stdout(sys.stderr):  # what packages say while they are imported
        parser, requests = ENGINES[name]()
    options = [option(action) for action in parser._actions if "-h" not in action.option_strings]
    lines = ",\n".join(f"  {json.dumps(one, default=str)}" for one in options)
    print(f'{{"made_from": {json.dumps(version(name))},')
    print(f'"requests": {json.dumps(requests)},')
    print(f'"options": [\n{lines}\n]}}')


if __name__ == "__main__":
    main(sys.argv[1])
