"""A Gaussian process of what was scored, and what it makes worth evaluating next. It loads torch."""
