"""Commands this package offers to `swift` and to `swift-mm`."""
