"""The object that a script holds: HttpServerClient, which joins the rooms below into plain blocking calls."""
