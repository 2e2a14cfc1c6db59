"""The cluster profiles that come with the program."""
