"""The kinds of evaluation, a file each: a function, a command, LoRA fine-tuning and scoring."""
