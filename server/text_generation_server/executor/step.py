"""The contract between the engine and an executor: what one step computes and what comes back.

A `StepPlan` is flat arrays, so that rank 0 can broadcast it unchanged and a native executor can
take it without walking Python objects. The engine cannot tell executors apart.

Letters: T tokens computed in the step, S sequences in it, R rows whose next token is drawn, M of
them with a mask, P rows that tell about a prompt token.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from text_generation_server._native import PagePool, SamplingParams

Int32Array = npt.NDArray[np.int32]
Uint32Array = npt.NDArray[np.uint32]
Uint64Array = npt.NDArray[np.uint64]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SlotOpening:
    """A sampler slot to start before the step draws from it."""

    slot: int
    params: SamplingParams
    prompt: Uint32Array
    """Tokens that repetition penalties count."""
    generated: Uint32Array
    """Answer tokens so far (not empty when a preempted or resumed sequence goes on)."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step: first the page copies in order, then all sequences' tokens at once."""

    copies: Int32Array
    """[copies, 2] page ids (source, destination), made in order before anything is written."""
    tokens: Uint32Array
    """[T] token ids, sequence after sequence."""
    domains: Uint64Array
    """[T] cache domain of each token, or none unless `ExecutorFacts.reads_domains`."""
    query_starts: Int32Array
    """[S + 1] sequence s computes tokens[query_starts[s]:query_starts[s + 1]]."""
    context_lengths: Int32Array
    """[S] tokens of a sequence whose KV is in its pages: the position of its first token here."""
    page_starts: Int32Array
    """[S + 1] sequence s has the page table pages[page_starts[s]:page_starts[s + 1]]."""
    pages: Int32Array
    """Page ids; a sequence's position p lies in its page p // page_tokens, cell p % page_tokens."""
    sample_rows: Int32Array
    """[R + P] indices into tokens: the rows whose logits are wanted, first those drawn from."""
    sample_slots: Int32Array
    """[R] sampler slot of each row that is drawn from."""
    mask_rows: Int32Array = field(default_factory=lambda: np.empty(0, np.int32))
    """[M] rows of sample_rows that are drawn from, none twice, that may draw some tokens only."""
    masks: Uint32Array = field(default_factory=lambda: np.empty((0, 0), np.uint32))
    """[M, ceil(vocabulary / 32)] bit id % 32 of word id // 32 allows a token."""
    score_tokens: Uint32Array = field(default_factory=lambda: np.empty(0, np.uint32))
    """[P] the tokens whose probability behind the last P of sample_rows is wanted."""
    score_top_n: Uint32Array = field(default_factory=lambda: np.empty(0, np.uint32))
    """[P] how many of the most likely tokens to report beside each."""
    slots_opened: tuple[SlotOpening, ...] = ()
    """Sampler slots to start anew before the step draws."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The drawn and the scored tokens, row by row of `StepPlan.sample_rows`."""

    token_ids: Int32Array
    """[R + P]"""
    logprobs: Float32Array
    """[R + P] natural log of the probability under the unmodified logits."""
    top_starts: Int32Array
    """[R + P + 1] row r's most likely tokens are top_ids[top_starts[r]:top_starts[r + 1]]."""
    top_ids: Int32Array
    top_logprobs: Float32Array


@dataclass(frozen=True, slots=True)
class ExecutorFacts:
    """What an executor is, fixed once its model is loaded."""

    name: str
    """"native", "torch" or "oracle"."""
    device: str
    """"cpu" or "cuda"."""
    hardware: str
    """What the device computes with, for people to read, such as "avx512-bf16, 2 threads"."""
    weights: str
    """Type of the weights, for people to read, such as "bf16" or "int4 g32 + int8 head"."""
    kv_dtype: str
    """Type of keys and values, such as "bf16" or "int8"."""
    fingerprint: str
    """Changes with weights, tokenizer and numerics: equal text means exchangeable KV."""
    vocab_size: int
    context_length: int
    """Most tokens of one sequence, prompt and answer together."""
    page_tokens: int
    page_bytes: int
    reads_domains: bool = False
    """Whether it looks at the tokens' cache domains: only the oracle does."""
    default_kv_tokens: int | None = None
    """Size of the page pool when nobody asks for one; None: from the memory that is available."""


class Ticket(Protocol):
    """A submitted step."""

    def wait(self) -> StepResult:
        """Block until the step is done. Raises what it raised; its writes are then undefined."""
        ...


class Executor(Protocol):
    """Runs steps on a device. Used by the engine thread alone."""

    facts: ExecutorFacts

    def bind(self, pool: PagePool, num_slots: int) -> None:
        """Take the memory to compute in and the number of sampler slots. Called once, first."""
        ...

    def submit(self, plan: StepPlan) -> Ticket:
        """Start a step. At most one step is in flight."""
        ...

    def close(self) -> None:
        """Give back devices, threads and ranks. Called once, after the last step."""
        ...
