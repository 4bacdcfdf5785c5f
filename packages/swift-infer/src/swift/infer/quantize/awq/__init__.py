"""AWQ: weights of few bits, channels with large activations scaled up before rounding."""
