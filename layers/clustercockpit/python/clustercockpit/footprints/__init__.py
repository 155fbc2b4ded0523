"""Footprints of running jobs: worked out by schedule, kept beside the jobs, laid over them in answers."""
