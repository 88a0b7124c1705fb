"""What a step gave each of its chunks."""

from collections.abc import Iterator
from typing import NamedTuple

from text_generation_server.engine.request import TokenLogprobs
from text_generation_server.engine.scheduler import Chunk
from text_generation_server.executor.step import StepResult


class Outcome(NamedTuple):
    """What a step gave one chunk."""

    drawn: TokenLogprobs | None
    """The sequence's next token, when the chunk ends it."""
    scores: tuple[TokenLogprobs, ...]
    """Of the prompt tokens behind the rows of `Chunk.scored`."""


def outcomes(chunks: list[Chunk], result: StepResult) -> list[Outcome]:
    """Chunk by chunk; the result has the drawn tokens of all chunks before their scores."""
    rows = _rows(result)
    drawn = [next(rows) if chunk.draws else None for chunk in chunks]
    scores = [tuple(next(rows) for _ in chunk.scored) for chunk in chunks]
    return [Outcome(*pair) for pair in zip(drawn, scores, strict=True)]


def _rows(result: StepResult) -> Iterator[TokenLogprobs]:
    starts = result.top_starts.tolist()
    ids, logprobs = result.top_ids.tolist(), result.top_logprobs.tolist()
    for row, (token_id, logprob) in enumerate(
        zip(result.token_ids.tolist(), result.logprobs.tolist(), strict=True)
    ):
        top = slice(starts[row], starts[row + 1])
        yield TokenLogprobs(token_id, logprob, tuple(zip(ids[top], logprobs[top], strict=True)))
