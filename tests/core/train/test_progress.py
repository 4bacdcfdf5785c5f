"""What a person sees of a run while it goes on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from swift.core.train.progress import ProgressDisplay, format_figures


def test_metrics_that_were_asked_for_follow_the_loss() -> None:
    logs = {"eval_accuracy": 0.5, "eval_loss": 1.25, "eval_loss/mine": 1.0, "eval_rouge": None, "epoch": 1.0}
    assert format_figures(logs) == "eval_loss 1.25  eval_accuracy 0.5"


def test_what_is_measured_after_the_bar_is_closed_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    display = ProgressDisplay("sft")
    display.bar, display.lines = True, False  # a terminal
    state = SimpleNamespace(global_step=3, max_steps=3)
    display.on_train_begin(None, state, None)
    display.on_train_end(None, state, None)
    display.on_log(None, state, None, {"eval_bleu": 12.0})
    assert "sft 3/3  eval_bleu 12" in capsys.readouterr().err
