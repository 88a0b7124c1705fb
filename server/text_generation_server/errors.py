"""Failures with a meaning. Per-request failures travel as values (`engine.request.Finished`);
these are raised where a whole process cannot go on or a caller broke a rule."""


class ServeError(Exception):
    """Base of all errors this package raises on purpose."""


class ConfigError(ServeError):
    """The configuration file cannot be read or breaks a rule."""


class EngineFailedError(ServeError):
    """The engine cannot go on; the process must end so that it can be started anew."""
