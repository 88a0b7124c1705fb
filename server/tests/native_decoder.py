"""Native executors for tests, with what the operator does not choose chosen too."""

import json
from typing import Any

from text_generation_server._native import Decoder
from text_generation_server.executor import native_executor
from text_generation_server.executor.native_executor import NativeExecutor
from text_generation_server.executor.step import ExecutorFacts
from text_generation_server.models.source import ModelSource
from text_generation_server.models.weights import raw_tensors

Tensors = dict[str, Any]
"""As `Decoder.load` takes them."""

ISAS = ("avx512-dot", "avx512", "avx2", "portable")


def description_of(source: ModelSource) -> str:
    spec = source.spec()
    return json.dumps(spec.resolved(spec.max_positions))


def tensors_of(source: ModelSource) -> Tensors:
    tensors = raw_tensors(source, source.spec())
    return {tensor.name: native_executor._given(tensor) for tensor in tensors}


def supported_isas() -> list[str]:
    """Those of this machine: the others are refused before anything else is looked at."""
    return [isa for isa in ISAS if "has no" not in _refusal(isa)]


def _refusal(isa: str) -> str:
    try:
        Decoder.load("{}", {}, num_threads=1, isa=isa)
    except ValueError as error:
        return str(error)
    return ""


def make_executor(source: ModelSource, num_threads: int = 1, **options: Any) -> NativeExecutor:
    """options: keyword arguments of `Decoder.load`."""
    decoder = Decoder.load(
        description_of(source), tensors_of(source), num_threads=num_threads, **options
    )
    return executor_of(decoder, source)


def executor_of(decoder: Decoder, source: ModelSource) -> NativeExecutor:
    spec = source.spec()
    facts = ExecutorFacts(
        name="native",
        device="cpu",
        hardware=decoder.isa,
        weights=decoder.weights,
        kv_dtype="",
        fingerprint="",
        vocab_size=spec.vocab_size,
        context_length=spec.max_positions,
        page_tokens=decoder.page_tokens,
        page_bytes=decoder.page_bytes,
    )
    return NativeExecutor(decoder, facts)
