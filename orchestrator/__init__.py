"""Search of fine-tuning hyperparameters on SLURM and OAR clusters."""

__version__ = "0.1.0"
