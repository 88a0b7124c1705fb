"""Native executors for tests, with what the operator does not choose chosen too."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from text_generation_server._native import Decoder
from text_generation_server.executor import native_executor
from text_generation_server.executor.native_executor import NativeExecutor
from text_generation_server.executor.step import ExecutorFacts
from text_generation_server.models.source import ModelSource
from text_generation_server.models.weights import raw_tensors

Tensors = dict[str, Any]
"""As `Decoder.load` takes them."""

REFUSALS = (ValueError, TypeError, IndexError, OverflowError, RuntimeError)
ISAS = ("avx512-dot", "avx512", "avx2", "portable")


def description_of(source: ModelSource) -> str:
    spec = source.spec()
    return json.dumps(spec.resolved(spec.max_positions))


def tensors_of(source: ModelSource) -> Tensors:
    tensors = raw_tensors(source, source.spec())
    return {tensor.name: native_executor._given(tensor) for tensor in tensors}


def refusal(call: Callable[[], object]) -> str | None:
    """What the exception of a call says; None if there is none. Fails for a panic, which is no
    `Exception`, and for work that threads took up before its mistake was seen."""
    try:
        call()
    except REFUSALS as error:
        text = str(error)
        assert text and "thread failed" not in text and "panicked" not in text, text
        return text
    return None


def supported_isas() -> list[str]:
    """Those of this machine: the others are refused before anything else is looked at."""
    texts = {isa: refusal(partial(Decoder.load, "{}", {}, num_threads=1, isa=isa)) for isa in ISAS}
    return [isa for isa, text in texts.items() if "this processor has no" not in str(text)]


def load_decoder(source: ModelSource, num_threads: int = 1, **options: Any) -> Decoder:
    """options: keyword arguments of `Decoder.load`."""
    description, tensors = description_of(source), tensors_of(source)
    return Decoder.load(description, tensors, num_threads=num_threads, **options)


def make_executor(source: ModelSource, **options: Any) -> NativeExecutor:
    """options: those of `load_decoder`."""
    return executor_of(load_decoder(source, **options), source)


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
