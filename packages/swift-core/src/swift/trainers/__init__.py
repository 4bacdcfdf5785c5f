"""Trainers by the names people know; each binds one objective to the one trainer.

GRPOTrainer(model=model, reward_model=reward, train_dataset=rows, args=arguments, beta=0.1).train()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swift.trainers.bound import DPOTrainer, GRPOTrainer, PretrainTrainer, SFTTrainer

__all__ = ["DPOTrainer", "GRPOTrainer", "PretrainTrainer", "SFTTrainer"]


def __getattr__(name: str) -> Any:
    """Load torch only when a trainer is asked for."""
    if name not in __all__:
        raise AttributeError(
            f"module 'swift.trainers' has no attribute {name!r}; it offers {', '.join(__all__)}"
        )
    from swift.trainers import bound

    return getattr(bound, name)
