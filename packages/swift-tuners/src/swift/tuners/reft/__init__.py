"""LoReFT."""
