"""The model in memory: LoRA, quantized weights, shards, the head and the loss."""
