"""OAR: batch scripts, `oarsub`, and what its words for a job's state mean."""
