"""Advantages: how much better a completion is than what was to be expected.

Shapes: P prompts, G completions of each; rewards are [P, G].
"""
