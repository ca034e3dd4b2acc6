"""What only a notebook has: the live table, and cells that run again."""
