"""No scheduler: jobs are processes of this host, each with GPUs of its own."""
