"""At which address boards reach this host: its interfaces, routes and names."""
