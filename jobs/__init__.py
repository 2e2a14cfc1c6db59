"""What runs on a host: one evaluation, from its assignment to its result."""

from jobs import lazy_torchmetrics

lazy_torchmetrics.install()  # before anything here imports LitGPT
