"""`swift quickstart`."""

from pathlib import Path

import click


@click.command(
    "quickstart",
    help="Train a small model from scratch, fine-tune, align, merge, serve and report; no network needed.",
)
@click.option(
    "--output-dir", type=click.Path(path_type=Path), default=Path("quickstart-output"), show_default=True
)
@click.option("--overwrite", is_flag=True, help="Delete the quickstart that the folder already holds.")
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True)
@click.option(
    "--pt-steps", type=click.IntRange(min=1), default=250, show_default=True, help="Pre-training steps."
)
@click.option(
    "--sft-steps", type=click.IntRange(min=1), default=300, show_default=True, help="Fine-tuning steps."
)
@click.option("--grpo-steps", type=click.IntRange(min=1), default=60, show_default=True, help="GRPO steps.")
@click.option(
    "--samples", type=click.IntRange(1, 200), default=200, show_default=True, help="Held-out rows measured."
)
def command(
    output_dir: Path, overwrite: bool, seed: int, pt_steps: int, sft_steps: int, grpo_steps: int, samples: int
) -> int:
    from swift.core.quickstart.plan import Steps
    from swift.core.quickstart.run import quickstart

    return quickstart(output_dir, Steps(pt_steps, sft_steps, grpo_steps), seed, samples, overwrite)
