"""Commands of swift-core, one a file; their modules import only click at the top."""
