"""A third-party plugin of TAO Hub: what a plugin author writes, no more."""
