"""Who generates: one folder or file an engine, each an implementation of swift.core.protocols.Engine."""
