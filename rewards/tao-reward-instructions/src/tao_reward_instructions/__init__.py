"""Instructions that a program can verify: a reward that checks them, and prompts that hold them."""
