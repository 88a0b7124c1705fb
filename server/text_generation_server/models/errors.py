"""The one error that reading a model raises."""


class ModelError(Exception):
    """A model cannot be served; the message says what is wrong and what to do about it."""
