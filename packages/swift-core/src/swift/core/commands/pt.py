"""`swift pt`."""

from swift.core.commands.train import training_command

command = training_command("pt", "Pre-training, or continued pre-training, on plain text.", "pt")
