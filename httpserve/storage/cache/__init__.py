"""Blocks of objects on local disk: read once, kept within a bound, and served while they come."""
