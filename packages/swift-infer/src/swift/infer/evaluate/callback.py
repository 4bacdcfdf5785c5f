"""Benchmarks on the model that trains, by the embedded engine, which reads its very weights."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from swift.core.config.schema import BenchmarkConfig, InferConfig
from swift.core.console import is_main_process, say
from swift.core.engines import facts_of
from swift.core.errors import ConfigError, EngineError, SwiftError
from swift.core.registry import engines
from swift.core.train.callbacks.contract import Callback
from swift.core.train.interrupt import Interrupt
from swift.core.train.ranks import from_first
from swift.infer.evaluate.child import Worker
from swift.infer.evaluate.host import endpoint, serving
from swift.infer.evaluate.plan import Asked, order, plan
from swift.infer.evaluate.run import answering
from swift.infer.server.served import ServedModel

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer

NAME = "live"
FAILURES = "eval_benchmark_failures"


class BenchmarkCallback(Callback):
    """Reports eval_LABEL of every benchmark, and eval_benchmark_failures, how many have none this time.

    Mistakes in names, files and data end the run before its first step; what fails later is said and counted,
    and training goes on, from the same random state. Rank 0 measures, the others wait.

    Args:
        hub: where data without a local path comes from.
        settings: keys of BenchmarkConfig.
    """

    def __init__(self, hub: str = "huggingface", **settings: Any) -> None:
        self.config = BenchmarkConfig.model_validate(settings)
        self.hub = hub
        self.worker: Worker | None = None
        self.asked: list[Asked] = []
        self.measured_at = -1

    def attach(self, trainer: Trainer) -> None:
        """Check every benchmark.

        Raises:
            ConfigError: no rank has the whole weights, or the settings cannot be used.
            SwiftError: a benchmark cannot be run here.
        """
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ConfigError(
                "eval.benchmarks needs whole weights on rank 0 while training",
                "measure the checkpoints with `swift eval --compare`, or train with ddp",
            )
        self._trainer = trainer
        if not is_main_process():
            return
        own = "output_dir" in self.config.model_fields_set
        folder = Path(self.config.output_dir) if own else Path(trainer.args.output_dir) / "benchmarks"
        self.asked = plan(self.config, folder)
        self.worker = Worker(folder, self.config.stall_timeout)
        atexit.register(self.worker.close)
        for asked in self.asked:
            self._ask("check", asked, endpoint("http://127.0.0.1:1/v1", "nobody"), 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure every so many steps."""
        if self.config.benchmark_steps and state.global_step % self.config.benchmark_steps == 0:
            self._report(state.global_step, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure what training has led to, unless it was interrupted."""
        if state.global_step != self.measured_at and not self._interrupted():
            self._report(state.global_step, control)
        if self.worker is not None:
            self.worker.close()
            atexit.unregister(self.worker.close)

    def _interrupted(self) -> bool:
        pressed = (
            one.exit_code for one in self._trainer.callback_handler.callbacks if isinstance(one, Interrupt)
        )
        return self._trainer.interrupted is not None or any(code is not None for code in pressed)

    def _report(self, step: int, control: Any) -> None:
        self.measured_at = step
        due = control.should_log  # a report switches it off, and the training loss is still to come
        resume_clock = self._trainer.throughput.pause()
        figures = self._figures(step) if self.worker is not None else {}
        self._trainer.log(from_first(figures))
        control.should_log = due
        resume_clock()

    def _figures(self, step: int) -> dict[str, float]:
        """Scores by name; a failure is said and counted."""
        figures: dict[str, float] = {}
        try:
            with torch.random.fork_rng(), self._trainer.presented():
                self._measure(step, figures)
        except (SwiftError, RuntimeError, OSError) as error:  # a broken engine, no memory, a full disk
            say(f"step {step}: benchmarks: {error}")
        return {**figures, FAILURES: float(len(self.asked) - len(figures))}

    def _measure(self, step: int, figures: dict[str, float]) -> None:
        processor: Any = self._trainer.processing_class
        tokenizer = getattr(processor, "tokenizer", processor)
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        engine = engines.build("transformers", model, processor)
        defaults = answering(self.config, InferConfig.model_validate({}))
        limit = facts_of(engine).max_length
        served = ServedModel(NAME, engine, tokenizer, max_length=limit, defaults=defaults)
        seed = int(self._trainer.args.seed)
        with serving(served) as url:
            where = endpoint(url, NAME, temperature=self.config.temperature, seed=seed)
            for asked in self.asked:
                try:
                    found = self._ask("grade", asked, where, step)
                except SwiftError as error:
                    say(f"step {step}: {asked.label}: {error}")
                    continue
                figures[f"eval_{asked.label}"] = found["score"]

    def _ask(self, what: str, asked: Asked, where: Any, step: int) -> Any:
        if self.worker is None:
            raise EngineError("only rank 0 measures")
        folder = self.worker.folder / f"step-{step}" / asked.label
        told = order(
            asked, self.config, folder, seed=int(self._trainer.args.seed), hub=self.hub, endpoint=where
        )
        return self.worker.ask({"do": what, **told})
