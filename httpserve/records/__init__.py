"""Who has it: requests and answers as they happen, what a board has received, and waiting for it."""
