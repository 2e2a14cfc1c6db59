"""What `orchestrator prepare` does once, on the login node: fetch, freeze, and show that a host without a
network finds everything.
"""
