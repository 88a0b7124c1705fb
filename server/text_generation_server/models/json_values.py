"""The values of a model's config.json, read with errors that name what is wrong."""

import sys
from typing import Any, Self

from text_generation_server.models.errors import ModelError


class JsonValues:
    """The values of one object of config.json, checked as they are taken.

    A default stands for an absent key and for null; without one, both are a ModelError.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        """Whether there is such a key and it is not null."""
        return self._values.get(key) is not None

    def __bool__(self) -> bool:
        return bool(self._values)

    def with_defaults(self, defaults: dict[str, Any]) -> Self:
        """The same with values for absent keys; a null stays null."""
        return type(self)(defaults | self._values)

    def section(self, key: str) -> Self:
        """An object inside, empty without one."""
        value = self._values.get(key) or {}
        if not isinstance(value, dict):
            raise ModelError(f"config.json: {key} is {value!r}, must be an object")
        return type(self)(value)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._take(key, default)
        if not _is_number(value):
            raise ModelError(f"config.json: {key} is {value!r}, must be a number")
        number: float = value
        return number

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        value = self.number(key, default)
        if value != int(value):
            raise ModelError(f"config.json: {key} is {value}, must be an integer")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """A truth value."""
        return bool(self._take(key, default))

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._take(key, default)
        if not isinstance(value, str):
            raise ModelError(f"config.json: {key} is {value!r}, must be a string")
        return value

    def list(self, key: str) -> list[Any]:
        """A list, empty without one."""
        value = self._values.get(key) or []
        if not isinstance(value, list):
            raise ModelError(f"config.json: {key} is {value!r}, must be a list")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers, empty without one."""
        values = self.list(key)
        for value in values:
            if not _is_number(value):
                raise ModelError(f"config.json: {key} has {value!r}, must be numbers")
        return tuple(values)

    def _take(self, key: str, default: Any) -> Any:
        value = self._values.get(key)
        value = default if value is None else value
        if value is None:
            raise ModelError(f"config.json has no {key}")
        return value


def _is_number(value: Any) -> bool:
    # Compared, not converted: JSON's integers may be too large for a float.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max
