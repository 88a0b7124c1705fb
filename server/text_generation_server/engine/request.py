"""What the engine is asked and what it answers, free of protobuf."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from text_generation_server._native import SamplingParams
from text_generation_server.engine.domains import DomainSpans
from text_generation_server.executor.step import Uint32Array


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the router admitted it."""

    id: int
    tokens: Uint32Array
    """[n] prompt, and behind `prompt_length` the answer so far of an earlier run."""
    prompt_length: int
    max_new_tokens: int
    """Most answer tokens, those among `tokens` included."""
    params: SamplingParams
    stop_token_ids: frozenset[int]
    domains: DomainSpans
    arrival: float
    """When it came in, in seconds of the engine's clock."""
    deadline: float | None
    """When it is given up, on the same clock."""
    grammar: str = ""
    """What the answer must follow, as llguidance's JSON; "" when anything goes."""
    prompt_logprobs: bool = False
    """Whether to report the log probabilities of the prompt."""
    progress: bool = False
    """Whether to report how far a long prefill is."""
    x_request_id: str = ""
    """Id of the HTTP request that it is a part of; "" when there is none."""

    @property
    def log_fields(self) -> dict[str, str]:
        """What log lines about it carry, as their `extra`."""
        return {"request_id": self.x_request_id}

    @property
    def max_length(self) -> int:
        """Tokens of prompt and longest answer."""
        return self.prompt_length + self.max_new_tokens


class FinishReason(Enum):
    """Why an answer is complete."""

    LENGTH = "length"
    STOP_TOKEN = "stop_token"
    CANCELLED = "cancelled"


class ErrorCode(Enum):
    """Why a request failed; see `ErrorCode` in engine.proto."""

    INVALID = "invalid"
    TIMEOUT = "timeout"
    ENGINE_FAILED = "engine_failed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a request cost and what it was spared; times in seconds."""

    cached_tokens: int
    wait: float
    prefill: float
    decode: float
    preemptions: int


class TokenLogprobs(NamedTuple):
    """A token, its log probability under the model and the most likely tokens in its place."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class PromptLogprobs:
    """What the model makes of a run of prompt tokens."""

    request_id: int
    start: int
    """Position in the prompt of the first one, at least 1."""
    tokens: tuple[TokenLogprobs, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a prefill is, in tokens."""

    request_id: int
    cached: int
    done: int
    """Tokens that need no more computing, the cached ones included."""
    total: int
    eta: float
    """Estimate of the seconds until the first token."""


@dataclass(slots=True)
class Token:
    """A drawn token. Not frozen, as there is one for every row of a step and frozen ones take three
    times as long to make; nobody changes it."""

    request_id: int
    index: int
    """Position in the answer, from 0."""
    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """The terminal event of a request that did not fail."""

    request_id: int
    reason: FinishReason
    prompt_tokens: int
    generated_tokens: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Failure:
    """The terminal event of a request that failed."""

    request_id: int
    code: ErrorCode
    message: str
    retryable: bool


Finished = Completion | Failure


@dataclass(frozen=True, slots=True)
class StepEvents:
    """What one step gives the router."""

    tokens: tuple[Token, ...]
    finished: tuple[Finished, ...]
    prompts: tuple[PromptLogprobs, ...] = ()
    progress: tuple[Progress, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tokens or self.finished or self.prompts or self.progress)


@dataclass(frozen=True, slots=True)
class Load:
    """The engine's state; see `Load` in engine.proto."""

    credit: int
    waiting: int
    prefilling: int
    decoding: int
    pages_free: int
    pages_cached: int
    pages_referenced: int
    steps: int
    prefill_tokens: int
    cached_tokens: int
    generated_tokens: int
    evicted_pages: int
    preemptions: int
    execute_seconds: float
    step_seconds: float
    execute_total_seconds: float
    gap_total_seconds: float
    gap_cpu_seconds: float
    gaps: int
