"""Training data: instructions, mixtures of them, and the samples that a tokenizer makes of them."""
