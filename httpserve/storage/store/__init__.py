"""A store of objects as the root: an opendal operator, bounded in time, with versions, and with our errors."""
