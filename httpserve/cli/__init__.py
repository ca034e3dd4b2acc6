"""The command `httpserve`."""
