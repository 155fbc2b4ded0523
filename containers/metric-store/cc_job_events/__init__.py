"""Job events and node states that arrive over NATS (`spec/rest-and-nats-api.md` 11)."""
