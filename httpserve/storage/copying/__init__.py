"""How a file gets in, and out again: sources, sinks, and the copy between them."""
