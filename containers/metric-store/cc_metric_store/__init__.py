"""The metric store: time series of every node in memory, durable through checkpoints and a log."""
