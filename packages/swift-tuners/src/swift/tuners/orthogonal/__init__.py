"""OFT and BOFT."""
