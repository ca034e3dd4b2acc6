"""How an answer leaves: werkzeug's threaded server, one leader, connections, deliveries and their receipts."""
