"""Draws a plan's tokens with the native sampler; turns what it gives into a `StepResult`."""

import numpy as np

from text_generation_server._native import Sampler, Samples
from text_generation_server.executor.step import Float32Array, Int32Array, StepPlan, StepResult


def draw(
    sampler: Sampler, plan: StepPlan, logits: Float32Array, positions: Int32Array
) -> StepResult:
    """Open the plan's new slots and draw a token from each row of logits.

    logits: [R, vocab_size], C-contiguous; positions: [R] the position of the token to draw.
    """
    for opening in plan.slots_opened:
        sampler.open(opening.slot, opening.params, opening.prompt, opening.generated)
    positions = positions.astype(np.int32, copy=False)
    return step_result(
        sampler.sample(logits, plan.sample_slots, positions, plan.mask_rows, plan.masks)
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
