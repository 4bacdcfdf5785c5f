"""The other trainers that `sft_peers.py` runs, one file each, and the job that all of them get."""
