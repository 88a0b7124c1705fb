"""Draws a plan's tokens with the native sampler; turns what it gives into a `StepResult`."""

import numpy as np

from text_generation_server._native import Sampler, Samples
from text_generation_server.executor.step import Float32Array, Int32Array, StepPlan, StepResult


def draw(
    sampler: Sampler, plan: StepPlan, logits: Float32Array, positions: Int32Array
) -> StepResult:
    """Open the plan's new slots, draw a token from each of the first rows of logits and score one
    in each of the others.

    logits: [R + P, vocab_size], C-contiguous; positions: [R + P] the position of the next token.
    """
    for opening in plan.slots_opened:
        sampler.open(opening.slot, opening.params, opening.prompt, opening.generated)
    count = len(plan.sample_slots)
    positions = positions[:count].astype(np.int32, copy=False)
    drawn = step_result(
        sampler.sample(logits[:count], plan.sample_slots, positions, plan.mask_rows, plan.masks)
    )
    if len(logits) == count:
        return drawn
    scored = sampler.score(logits[count:], plan.score_tokens, plan.score_top_n)
    return _joined(drawn, step_result(scored))


def _joined(first: StepResult, second: StepResult) -> StepResult:
    starts = np.concatenate([first.top_starts, second.top_starts[1:] + first.top_starts[-1]])
    return StepResult(
        token_ids=np.concatenate([first.token_ids, second.token_ids]),
        logprobs=np.concatenate([first.logprobs, second.logprobs]),
        top_starts=starts,
        top_ids=np.concatenate([first.top_ids, second.top_ids]),
        top_logprobs=np.concatenate([first.top_logprobs, second.top_logprobs]),
    )


def step_result(samples: Samples) -> StepResult:
    """What was drawn, as arrays over the native memory."""
    return StepResult(
        token_ids=np.frombuffer(samples.token_ids, np.int32),
        logprobs=np.frombuffer(samples.logprobs, np.float32),
        top_starts=np.frombuffer(samples.top_starts, np.int32),
        top_ids=np.frombuffer(samples.top_ids, np.int32),
        top_logprobs=np.frombuffer(samples.top_logprobs, np.float32),
    )
