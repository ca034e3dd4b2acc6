"""How fast httpserve is beside other servers and copies: `python -m benchmarks`."""
