"""What reading a model raises."""


class ModelError(Exception):
    """A model cannot be served; the message says what is wrong and what to do about it."""


class UnsupportedArchitectureError(ModelError):
    """The model's files may be in order, but no `DecoderSpec` describes its architecture."""
