"""Fine-tuning: the loop, its batches, its state on disk."""
