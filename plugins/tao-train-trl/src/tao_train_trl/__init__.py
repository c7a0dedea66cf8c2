"""Best-of-n fine-tuning through TRL as a trainer of TAO Hub."""
