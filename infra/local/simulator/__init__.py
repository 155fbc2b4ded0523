"""A demo site: two clusters with jobs and metrics, spoken over the public interfaces only.

`python -m simulator --local var/local.json` plays a Slurm adapter and the metric collectors of some thirty
nodes. Nothing here imports the product: what it needs to know of it is what any client knows.
"""
