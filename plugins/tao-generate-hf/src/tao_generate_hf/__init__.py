"""Local causal language models for TAO Hub: the generator `hf/causal-lm` and the command `tao-hub models`."""
