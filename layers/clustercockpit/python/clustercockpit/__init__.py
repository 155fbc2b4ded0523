"""ClusterCockpit: job-specific performance monitoring for HPC centres.

The library that the functions, the container and the local stack share. Rooms are named after the
field's nouns; `docs/architecture.md` draws how they are connected.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("clustercockpit")
except PackageNotFoundError:  # a zip of a function carries the code without its distribution
    __version__ = "0.1.0"
