"""Where models come from: folders, caches, and a hub that answers, refuses or is not there."""

import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from swift.core.config.schema import ModelConfig
from swift.core.errors import ModelError
from swift.core.models.hub import locate
from swift.core.models.load import load_config, load_model, load_processor, save_model

COMMIT = "a" * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama-tuned"
    config = ModelConfig(model_id="tiny/llama")
    save_model(load_model(config, dtype=torch.float32, device="cpu"), load_processor(config), folder)
    return folder


def test_folder_is_itself(folder, monkeypatch):
    assert locate(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert locate("llama-tuned").resolve() == folder
    assert locate("./llama-tuned").resolve() == folder


def test_missing_folder_names_its_siblings(folder):
    with pytest.raises(ModelError, match=r"does not exist(.|\n)*llama-tuned"):
        locate(str(folder.parent / "llama-tund"))
    with pytest.raises(ModelError, match="does not exist either"):
        locate("./no_such_place/model")


def test_folders_that_hold_no_model(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"no config.json(.|\n)*notes.txt"):
        locate(str(tmp_path))
    with pytest.raises(ModelError, match="is a file"):
        locate(str(tmp_path / "notes.txt"))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds an adapter"):
        locate(str(tmp_path))


def test_damaged_folders(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(ModelConfig(model_id=str(tmp_path)), dtype=torch.float32, device="cpu")
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(ModelConfig(model_id=str(tmp_path)), dtype=torch.float32, device="cpu")
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(ModelError, match="lacks 9 weights"):
        load_model(ModelConfig(model_id=str(tmp_path)), dtype=torch.float32, device="cpu")


def test_own_code_needs_trust(tmp_path):
    config = {"model_type": "homemade", "auto_map": {"AutoConfig": "code.HomeConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"model\.trust_remote_code=true"):
        load_config(ModelConfig(model_id=str(tmp_path)))


def test_modelscope_client_is_optional():
    if importlib.util.find_spec("modelscope") is not None:
        pytest.skip("the modelscope client is installed")
    with pytest.raises(ModelError, match=r"'Qwen/Qwen3-0.6B'(.|\n)*pip install"):
        locate("qwen3-0.6b", hub="modelscope")


LOCATE = """
import sys, time
from swift.core.errors import ModelError
from swift.core.models.hub import locate
for model in sys.argv[1:]:
    start = time.monotonic()
    try:
        print("found", locate(model))
    except ModelError as error:
        print("failed", " ".join(str(error).split()))
    print("seconds", time.monotonic() - start)
"""


def ask(cache, endpoint, *models, **environment):
    """locate() in a process of its own: the client reads its environment when it is imported."""
    offline = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    keys = offline | {"HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-c", LOCATE, *models],
        env=os.environ | keys, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert all(float(line.split()[1]) < 15 for line in lines if line.startswith("seconds"))
    return [line for line in lines if not line.startswith("seconds")]


def test_without_network_the_error_says_what_and_where(tmp_path):
    refused, misspelt, invalid = ask(
        tmp_path, "http://127.0.0.1:9", "llama-3-8b-instruct", "lama-3-8b", "a//b"
    )
    assert "fetched from Hugging Face as 'meta-llama/Meta-Llama-3-8B-Instruct', but no connection" in refused
    assert "set model.model_id to a local folder" in refused
    assert "did you mean 'llama-3-8b'" in misspelt
    assert "neither a folder nor a hub id" in invalid
    (switched_off,) = ask(tmp_path, "http://127.0.0.1:9", "qwen3-0.6b", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in switched_off


class Hub(http.server.BaseHTTPRequestHandler):
    """The few answers of the hub's HTTP interface that a download needs, over a folder."""

    root = Path()
    served: tuple[str, ...] = ()

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlsplit(self.path).path
        files = {each.name: each.read_bytes() for each in self.root.iterdir()} | {"huge.bin": b"0"}
        if not path.removeprefix("/api/models").startswith("/own/model"):
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path.startswith("/api/models/own/model/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "b" * 40}
                for name, data in files.items()
            ]
            self._answer(200, json.dumps(tree).encode())
        elif path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in files]
            self._answer(200, json.dumps({"id": "own/model", "sha": COMMIT, "siblings": siblings}).encode())
        else:
            name = path.rpartition("/")[2]
            type(self).served += (name,)
            self._answer(200, files[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})

    def _answer(self, status, body, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def test_download_then_cache(folder, tmp_path):
    Hub.root = folder
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        found, unknown = ask(tmp_path, endpoint, "own/model", "own-er/missing")
    finally:
        server.shutdown()
        server.server_close()
    snapshot = found.removeprefix("found ")
    assert "huge.bin" not in Hub.served
    assert "the hub does not know this id" in unknown
    model = load_model(ModelConfig(model_id=snapshot), dtype=torch.float32, device="cpu")
    assert sum(weight.numel() for weight in model.parameters()) > 1e6
    (cached,) = ask(tmp_path, "http://127.0.0.1:9", "own/model")
    assert cached == found
