"""What is known of an executor before its weights are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from text_generation_server.executor.step import Executor, ExecutorFacts

_Loaded = TypeVar("_Loaded", bound=Executor, covariant=True)


@dataclass(frozen=True, slots=True)
class ExecutorPlan(Generic[_Loaded]):
    """An executor that can be loaded."""

    facts: ExecutorFacts
    """Those of the loaded executor, without the fingerprint where that is of the weights."""
    weight_bytes: int
    """Memory that the loaded weights take."""
    load: Callable[[], _Loaded]
    """Read the weights and build the executor. Raises ModelError."""
