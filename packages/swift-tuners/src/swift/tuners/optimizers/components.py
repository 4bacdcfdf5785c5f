"""The optimisers of this package: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component

galore = Component(
    name="galore",
    target="swift.tuners.optimizers.galore:Galore",
    summary="AdamW in a low-rank space of the gradients",
    attributes=(("paper", "arXiv 2403.03507"), ("source", "ours"), ("needs", "")),
)

q_galore = Component(
    name="q-galore",
    target="swift.tuners.optimizers.q_galore:QGalore",
    summary="galore with 4-bit projections, renewed while they move, and 8-bit moments",
    attributes=(("paper", "arXiv 2407.08296"), ("source", "ours"), ("needs", "bitsandbytes")),
)

apollo = Component(
    name="apollo",
    target="swift.tuners.optimizers.apollo:Apollo",
    summary="SGD with AdamW's scale, from a random low-rank space; apollo-mini: scale_type=tensor",
    attributes=(("paper", "arXiv 2412.05270"), ("source", "ours"), ("needs", "")),
)

muon = Component(
    name="muon",
    target="swift.tuners.optimizers.muon:Muon",
    summary="momentum made orthogonal, for matrices; AdamW for the rest",
    attributes=(("paper", "Jordan et al. 2024"), ("source", "torch"), ("needs", "")),
)

adam_mini = Component(
    name="adam-mini",
    target="swift.tuners.optimizers.adam_mini:AdamMini",
    summary="AdamW with one second moment a block",
    attributes=(("paper", "arXiv 2406.16793"), ("source", "ours"), ("needs", "")),
)

schedule_free = Component(
    name="schedule-free",
    target="swift.tuners.optimizers.schedule_free:ScheduleFree",
    summary="AdamW that needs no learning-rate schedule",
    attributes=(("paper", "arXiv 2405.15682"), ("source", "ours"), ("needs", "")),
)
