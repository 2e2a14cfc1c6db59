"""SLURM: batch scripts, `sbatch`, and what its words for a job's state and reason mean."""
