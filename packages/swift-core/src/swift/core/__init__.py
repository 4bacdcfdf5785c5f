"""The interface layer of swift: config, registries, protocols, data, models and the one trainer.

Importing this package loads neither torch nor pydantic; each module loads what it needs.
"""
