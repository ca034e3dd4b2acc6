"""How answers leave: werkzeug's threaded WSGI server, sockets, threads, deadlines. Knows nothing of what is served."""
