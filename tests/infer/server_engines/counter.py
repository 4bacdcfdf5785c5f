"""A server whose model is one weight, which it reads at its start: counter.py PORT FOLDER [NAME=ADAPTER...].

Every token of an answer is the weight, with an adapter's rank added; it imports the standard library alone.
"""

from __future__ import annotations

import http.server
import json
import struct
import sys
import time
from pathlib import Path


def weight_in(folder: Path) -> float:
    """The only weight of a model folder."""
    assert json.loads((folder / "config.json").read_text())["model_type"] == "counter"
    index = folder / "model.safetensors.index.json"
    name = json.loads(index.read_text())["weight_map"]["w"] if index.exists() else "model.safetensors"
    raw = (folder / name).read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    start, end = json.loads(raw[8 : 8 + size])["w"]["data_offsets"]
    (weight,) = struct.unpack("<f", raw[8 + size + start : 8 + size + end])
    if weight < 0:
        sys.exit("a weight is negative: a clear reason")
    return float(weight)


def tokens_of(folder: Path, adapters: list[str]) -> dict[str, int]:
    """Name of a model -> the token that it answers with."""
    weight = int(weight_in(folder))
    tokens = {"m": weight}
    for word in adapters:
        name, _, path = word.partition("=")
        rank = json.loads((Path(path) / "adapter_config.json").read_text())["r"]
        if rank > 64:
            sys.exit(f"no room for rank {rank}")
        tokens[name] = weight + rank
    return tokens


class Handler(http.server.BaseHTTPRequestHandler):
    """Completions of one token again and again, fifty a second."""

    tokens: dict[str, int]

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Health."""
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        """A stream."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        token = self.tokens.get(asked["model"])
        self.send_response(404 if token is None else 200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        if token is None:
            return
        for _ in range(asked["max_tokens"]):
            self.send({"text": f"{token} ", "token_ids": [token], "finish_reason": None})
            time.sleep(0.02)
        self.send({"text": "", "finish_reason": "length"})

    def send(self, choice: dict[str, object]) -> None:
        """One event."""
        self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        self.wfile.flush()


if __name__ == "__main__":
    Handler.tokens = tokens_of(Path(sys.argv[2]), sys.argv[3:])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
