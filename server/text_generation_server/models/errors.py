"""The errors that reading a model raises."""


class ModelError(Exception):
    """A model cannot be served; the message says what is wrong and what to do about it."""


class UnsupportedModelError(ModelError):
    """The model may be sound, but is of a kind that is not computed here; another executor may."""
