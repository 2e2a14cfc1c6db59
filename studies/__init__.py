"""The study files that `orchestrator init` starts from."""
