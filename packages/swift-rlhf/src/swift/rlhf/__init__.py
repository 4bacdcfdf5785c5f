"""Alignment: preference objectives and reinforcement learning from verifiable rewards.

Every online algorithm is one formula, put together from small functions:

    loss = aggregate(surrogate(ratio(logp, old_logp), advantage) + beta * kl(logp, reference_logp))
"""
