"""Live rooms: the protocol decides, sockets only carry."""
