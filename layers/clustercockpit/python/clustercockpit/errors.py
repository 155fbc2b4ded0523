"""What can go wrong, in the domain's words.

The doors (HTTP, NATS, CLI) translate these; nothing below a door knows a status code. A message says
what was wrong, where, and what to do, and tells nothing about our insides.
"""


class ClusterCockpitError(Exception):
    """Base of every error a caller may see."""


class InvalidInputError(ClusterCockpitError):
    """The caller sent something that cannot be used."""


class NotFoundError(ClusterCockpitError):
    """No such thing, or the caller may not see it: the two are not told apart."""


class ConflictError(ClusterCockpitError):
    """The thing exists already, or is not in a state in which this can be done."""


class NotAuthenticatedError(ClusterCockpitError):
    """No credential, or one that does not hold."""


class ForbiddenError(ClusterCockpitError):
    """A good credential that is not enough for this."""


class RateLimitedError(ClusterCockpitError):
    """Too many attempts; try later."""


class TooLargeError(ClusterCockpitError):
    """The request or its answer is over a limit that the message names."""


class UnavailableError(ClusterCockpitError):
    """A part this needs does not answer now; trying again later is right."""


class ConfigurationError(ClusterCockpitError):
    """A document of the installation is wrong. The message names file, key, and remedy."""
