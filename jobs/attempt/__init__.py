"""One attempt as its own job knows it: its directory, its stages, how it fails, is interrupted or ends."""
