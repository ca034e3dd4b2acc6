"""Waiting until a board has a file, or has asked for it."""
