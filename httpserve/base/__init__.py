"""What every room may use: arguments, threads, texts, tables, progress. Knows nothing of files, HTTP or boards."""
