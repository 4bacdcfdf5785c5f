"""Runs with plugins that break their contracts: refused before the first optimiser step, nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from swift.core.config.run import run_from_dict
from swift.core.errors import PluginError
from swift.core.train.run import train_in_process

pytestmark = pytest.mark.usefixtures("untouched_registries")

HEAD = (
    "import torch\nfrom torch.nn.functional import cross_entropy\nfrom swift.plugin import register_loss\n\n"
)
LINE = 5  # of the decorator
LINES = 4  # of a message: the problem, the contract, what it gets here, the remedy


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{n} and one?", "response": str(n + 1)} for n in range(8)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def train(plugin: Path, rows: Path) -> None:
    output = plugin.parent / "out"
    train_in_process(
        run_from_dict(
            {
                "plugins": [str(plugin)],
                "model": {"model_id": "tiny/qwen3"},
                "data": {"dataset_name": str(rows)},
                "train": {"loss_type": "mine", "output_dir": str(output), "max_steps": 2, "progress": False},
                "device": {"device": "cpu"},
            }
        )
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return cross_entropy(inputs, targets).detach()", "detached"),
        ("return cross_entropy(inputs, targets) / 0", "not finite"),
        ("return inputs.square()", "shape"),
        ("return cross_entropy(inputs, targets).item()", "float"),
        ("return inputs.argmax(-1)", "int64"),
        ("return undefined", "NameError"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise ValueError('one\\n  two\\nInvoked with: ' + 'tensor' * 1000)", "ValueError: one two"),
        ("raise ValueError('long ' * 1000)", "long..."),
        ("return torch.nn.functional.binary_cross_entropy_with_logits(inputs, targets)", "size"),
    ],
)
def test_losses(body: str, reason: str, tmp_path: Path, rows: Path) -> None:
    plugin = tmp_path / "losses.py"
    plugin.write_text(f"{HEAD}@register_loss('mine')\ndef mine(inputs, targets):\n    {body}\n")
    with pytest.raises(PluginError) as caught:
        train(plugin, rows)
    assert reason in caught.value.problem
    assert f"{plugin}:{LINE}" in caught.value.problem
    assert "(inputs, targets" in str(caught.value), "the contract"
    assert caught.value.remedy
    assert len(str(caught.value).splitlines()) <= LINES
    assert "tensortensor" not in str(caught.value)
    reports = tmp_path / "out" / "metrics.jsonl"
    assert not reports.exists() or '"loss"' not in reports.read_text(), "no step was taken"
    assert not (tmp_path / "out" / "final").exists()


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("import no_such_module\n", 2, "mine.py:1 cannot be imported: ModuleNotFoundError"),
        ("x = 1\n", 1, "registers nothing"),
        (
            "from swift.plugin import register_loss\n@register_loss('mine')\ndef mine(inputs): ...\n",
            1,
            "mine.py:2",
        ),
        (
            "from swift.plugin import register_filter\n"
            "for _ in range(2):\n    register_filter('mine')(lambda row: True)\n",
            1,
            "registered twice",
        ),
    ],
)
def test_the_command_refuses_before_anything_is_loaded(
    text: str, status: int, reason: str, tmp_path: Path, rows: Path
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(text)
    words = ["sft", f"plugins={plugin}", f"data.dataset_name={rows}", f"train.output_dir={tmp_path / 'out'}"]
    command = [sys.executable, "-X", "importtime", "-m", "swift.core.cli", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in result.stderr.splitlines() if not line.startswith("import time:")]
    assert result.returncode == status
    assert said[0].startswith("error: ")
    assert str(plugin) in said[0]
    assert reason in said[0]
    assert said[-1].startswith("  -> ")
    assert "Traceback" not in result.stderr
    assert not any(line.endswith("| torch") for line in result.stderr.splitlines())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("failure", ["ValueError('one\\ntwo')", "SystemExit(0)"])
def test_a_callback_that_fails_is_named_and_the_run_saved(failure: str, tmp_path: Path, rows: Path) -> None:
    plugin = tmp_path / "stops.py"
    plugin.write_text(
        "from transformers import TrainerCallback\nfrom swift.plugin import register_callback\n\n\n"
        "@register_callback('stops')\nclass Stops(TrainerCallback):\n"
        "    def on_step_end(self, args, state, control, **kwargs):\n"
        f"        if state.global_step == 2:\n            raise {failure}\n",
        encoding="utf-8",
    )
    output = tmp_path / "out"
    run = run_from_dict(
        {
            "plugins": [str(plugin)],
            "model": {"model_id": "tiny/qwen3"},
            "data": {"dataset_name": str(rows)},
            "train": {"callbacks": ["stops"], "output_dir": str(output), "max_steps": 4, "progress": False},
            "device": {"device": "cpu"},
        }
    )
    with pytest.raises(PluginError, match=r"stops\.py:5\): on_step_end\(\) failed: ") as caught:
        train_in_process(run)
    assert len(str(caught.value).splitlines()) == 2
    assert (output / "checkpoint-2" / "trainer_state.json").exists()
