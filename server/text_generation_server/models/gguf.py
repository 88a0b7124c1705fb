"""A GGUF file (llama.cpp's single-file format): its metadata and its tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Reading and dequantising is the
`gguf` library's; what the metadata and the names mean is `gguf_spec`'s.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from text_generation_server.models.errors import ModelError


class GgufFile:
    """A parsed GGUF file; tensor data stays on disk (mapped) until it is read."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError for a file that is not a whole GGUF."""
        self.path = path
        try:
            self._reader = gguf.GGUFReader(path)
        except (OSError, ValueError, LookupError, OverflowError) as error:
            # The library trusts lengths in the file: a truncated one ends in any of these.
            raise ModelError(
                f"{path} is truncated or not a GGUF file ({error}): download it again"
            ) from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value: str, int, float, bool or a list of one of them. Raises ModelError when
        it cannot be read."""
        field = self._reader.get_field(key)
        try:
            return default if field is None else field.contents()
        except ValueError as error:
            raise ModelError(f"{self.path}: the value of {key} is damaged: {error}") from error

    def require(self, key: str, default: Any = None) -> Any:
        """A metadata value. Raises ModelError when there is none, neither here nor as default."""
        value = self.get(key, default)
        if value is None:
            raise ModelError(f"{self.path} has no metadata key {key}: it is no complete model")
        return value

    @property
    def tensor_names(self) -> Iterable[str]:
        """Names of all tensors, as the file has them."""
        return self._tensors.keys()

    def dequantized(self, name: str) -> npt.NDArray[np.float32]:
        tensor = self._tensors[name]
        try:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            return np.require(values, np.float32, "W")
        except (ValueError, NotImplementedError) as error:
            kind = tensor.tensor_type.name
            raise ModelError(
                f"{self.path}: tensor {name} ({kind}) cannot be read: {error}"
            ) from error
