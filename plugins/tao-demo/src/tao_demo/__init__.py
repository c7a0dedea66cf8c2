"""The embedded default: the suite *inbox* and its metric."""
