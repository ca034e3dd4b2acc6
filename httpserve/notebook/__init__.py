"""What a notebook has of its own: the live table, and cells that run again."""
