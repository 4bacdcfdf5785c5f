"""A plan as the table that `swift plan` prints."""

from __future__ import annotations

from swift.parallel.plan.memory import Memory


def render(memory: Memory, title: str) -> str:
    """Parameters and bytes per rank, one figure a line."""
    share = memory.trainable / max(memory.parameters, 1)
    rows = [
        ("parameters", f"{memory.parameters:,}"),
        ("trained", f"{memory.trainable:,} ({share:.2%})"),
        ("weights", human(memory.weights)),
        ("gradients", human(memory.gradients)),
        ("optimiser state", human(memory.optimizer)),
        ("gradient buckets", human(memory.buckets)),
        ("together per rank", human(memory.total)),
    ]
    lines = [title, *(f"  {name:<18}{value:>16}" for name, value in rows)]
    return "\n".join([*lines, "  activations come on top: they grow with the batch and the length"])


def human(size: int) -> str:
    """Bytes in the largest binary unit that leaves at least 1."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1024
    return f"{value:.2f} TiB"
