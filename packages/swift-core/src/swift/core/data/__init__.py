"""Rows to samples: read, recognise, split, mix, encode, pack, collate."""
