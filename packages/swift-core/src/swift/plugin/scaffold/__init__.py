"""A first plugin of every kind: a module that works, and its test."""

from swift.plugin.scaffold.write import KINDS, NATIVE_KINDS, write_plugin

__all__ = ["KINDS", "NATIVE_KINDS", "write_plugin"]
