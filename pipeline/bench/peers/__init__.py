"""What the engine is measured against: the same four hops by other means."""
