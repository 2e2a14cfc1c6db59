"""A trained adapter for other programs: merged into its base model, or alone."""
