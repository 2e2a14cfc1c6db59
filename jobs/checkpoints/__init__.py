"""Models on disk: from a hub or a folder into LitGPT's form, and whether one is whole."""
