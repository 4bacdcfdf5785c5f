"""`swift sft`."""

from swift.core.commands.train import training_command

command = training_command("sft", "Supervised fine-tuning: learn the assistant's turns.", "sft")
