"""swift rlhf."""

from swift.core.commands.train import training_command

command = training_command("rlhf", "Align a model: train.stage is dpo, grpo, ...", None)
