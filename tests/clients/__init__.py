"""Players of the clients that exist at sites, as test helpers: what they really send and expect."""
