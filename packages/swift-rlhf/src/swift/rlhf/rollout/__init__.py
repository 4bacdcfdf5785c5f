"""Roll-outs: what the policy writes for a prompt, in one answer or in turns with an environment.

A plugin registers an environment, or a function that schedules the turns:

    from swift.plugin import register_rollout
    from swift.rlhf.rollout import Turn

    @register_rollout("one_more_try")
    def one_more_try(messages, completion, turn, columns):
        if completion == columns["answer"] or turn == 1:
            return Turn(done=True)
        return Turn([{"role": "user", "content": "Look again."}])
"""

from swift.rlhf.rollout.generate import Completion, generate, request_seed, roll_out
from swift.rlhf.rollout.turn import Environment, Scheduler, Turn

__all__ = [
    "Completion",
    "Environment",
    "Scheduler",
    "Turn",
    "generate",
    "request_seed",
    "roll_out",
]
