"""Random trials of the metric store's promise: what was acknowledged is there after whatever happens."""
