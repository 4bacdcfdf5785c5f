"""GPTQ: weights of few bits whose rounding errors are corrected column by column."""
