"""What is answered: names, validators, ranges, listings. A plain WSGI app that knows no sockets and no threads."""
