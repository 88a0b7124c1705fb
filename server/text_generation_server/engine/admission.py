"""What a request must keep to before it enters the engine."""

from dataclasses import dataclass

from text_generation_server.engine.request import Request
from text_generation_server.engine.scheduler import SchedulerLimits


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds on requests and steps, settled once model and memory are known."""

    max_input_tokens: int
    max_total_tokens: int
    step: SchedulerLimits


def find_mistake(request: Request, limits: EngineLimits, vocab_size: int) -> str | None:
    """The first rule or limit that a request breaks."""
    count, prompt_length = len(request.tokens), request.prompt_length
    if not 0 < prompt_length <= count:
        return f"prompt of {prompt_length} tokens in a request of {count} tokens"
    if request.domains.length != count:
        return f"domains cover {request.domains.length} tokens, the request has {count}"
    biased = [token for token, _ in request.params.logit_bias]
    if (largest := max([int(request.tokens.max()), *biased])) >= vocab_size:
        return f"token id {largest} is not below the vocabulary of {vocab_size}"
    if prompt_length > limits.max_input_tokens:
        return f"prompt has {prompt_length} tokens, limit is {limits.max_input_tokens}"
    if request.max_new_tokens <= count - prompt_length:
        return (
            f"max_new_tokens is {request.max_new_tokens}, the request already has"
            f" {count - prompt_length} answer tokens"
        )
    if request.max_length > limits.max_total_tokens:
        return (
            f"prompt of {prompt_length} + max_new_tokens of {request.max_new_tokens}"
            f" exceed the limit of {limits.max_total_tokens} tokens"
        )
    return None
