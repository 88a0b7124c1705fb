"""Between protobuf and the engine's own types."""

import numpy as np

from text_generation_server._native import SamplingParams
from text_generation_server.engine.domains import DomainSpans
from text_generation_server.engine.request import (
    Completion,
    ErrorCode,
    Failure,
    Finished,
    FinishReason,
    Load,
    Progress,
    PromptLogprobs,
    Request,
    StepEvents,
    Token,
)
from text_generation_server.pb import engine_pb2

_REASONS = {
    FinishReason.LENGTH: engine_pb2.FINISH_REASON_LENGTH,
    FinishReason.STOP_TOKEN: engine_pb2.FINISH_REASON_STOP_TOKEN,
    FinishReason.CANCELLED: engine_pb2.FINISH_REASON_CANCELLED,
}
_CODES = {
    ErrorCode.INVALID: engine_pb2.ERROR_CODE_INVALID,
    ErrorCode.TIMEOUT: engine_pb2.ERROR_CODE_TIMEOUT,
    ErrorCode.ENGINE_FAILED: engine_pb2.ERROR_CODE_ENGINE_FAILED,
}


def request_from_proto(message: engine_pb2.Request, now: float) -> Request | Failure:
    """The engine's request, or the failure to answer when the message breaks the contract."""
    try:
        if len(message.tokens) % 4 != 0 or not message.tokens:
            raise ValueError(f"tokens are {len(message.tokens)} bytes, expected a multiple of 4")
        tokens = np.frombuffer(message.tokens, dtype="<u4").astype(np.uint32, copy=False)
        spans = [(span.domain, span.length) for span in message.domains]
        return Request(
            id=message.id,
            tokens=tokens,
            prompt_length=message.generated_from,
            max_new_tokens=message.max_new_tokens,
            params=_params(message),
            stop_token_ids=frozenset(message.stop_token_ids),
            domains=DomainSpans(spans) if spans else DomainSpans.public(len(tokens)),
            arrival=now,
            deadline=now + message.timeout_ms / 1000 if message.timeout_ms else None,
            grammar=message.grammar,
            prompt_logprobs=message.prompt_logprobs,
            progress=message.progress,
            x_request_id=message.x_request_id,
        )
    except ValueError as error:
        return Failure(message.id, ErrorCode.INVALID, str(error), False)


def _params(message: engine_pb2.Request) -> SamplingParams:
    sampling = message.sampling
    return SamplingParams(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        typical_p=sampling.typical_p,
        repetition_penalty=sampling.repetition_penalty,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        seed=sampling.seed,
        top_n=message.top_n_tokens,
        logit_bias=[(entry.token_id, entry.bias) for entry in sampling.logit_bias],
        # The two go together: without a delta the gamma is without effect.
        watermark_gamma=sampling.watermark_gamma if sampling.watermark_delta else 0.5,
        watermark_delta=sampling.watermark_delta,
    )


def event_to_proto(event: StepEvents | Load) -> engine_pb2.EngineEvent:
    """One message of the `Serve` stream."""
    if isinstance(event, Load):
        return engine_pb2.EngineEvent(load=_load(event))
    step = engine_pb2.Step(
        tokens=[_token(token) for token in event.tokens],
        finished=[_finished(finished) for finished in event.finished],
        prompt_logprobs=[_prompt(prompt) for prompt in event.prompts],
        progress=[_progress(progress) for progress in event.progress],
    )
    return engine_pb2.EngineEvent(step=step)


def _token(token: Token) -> engine_pb2.Token:
    return engine_pb2.Token(
        request_id=token.request_id,
        index=token.index,
        token_id=token.token_id,
        logprob=token.logprob,
        top=_top(token.top),
    )


def _top(top: tuple[tuple[int, float], ...]) -> list[engine_pb2.TopToken]:
    return [engine_pb2.TopToken(token_id=id_, logprob=logprob) for id_, logprob in top]


def _prompt(prompt: PromptLogprobs) -> engine_pb2.PromptLogprobs:
    tokens = [
        engine_pb2.TokenLogprob(logprob=token.logprob, top=_top(token.top))
        for token in prompt.tokens
    ]
    return engine_pb2.PromptLogprobs(
        request_id=prompt.request_id, start=prompt.start, tokens=tokens
    )


def _progress(progress: Progress) -> engine_pb2.Progress:
    return engine_pb2.Progress(
        request_id=progress.request_id,
        cached_tokens=progress.cached,
        done_tokens=progress.done,
        total_tokens=progress.total,
        eta_us=_micros(progress.eta),
    )


def _finished(finished: Finished) -> engine_pb2.Finished:
    if isinstance(finished, Failure):
        error = engine_pb2.Error(
            code=_CODES[finished.code], message=finished.message, retryable=finished.retryable
        )
        return engine_pb2.Finished(request_id=finished.request_id, error=error)
    return engine_pb2.Finished(request_id=finished.request_id, completion=_completion(finished))


def _completion(completion: Completion) -> engine_pb2.Completion:
    receipt = completion.receipt
    return engine_pb2.Completion(
        reason=_REASONS[completion.reason],
        prompt_tokens=completion.prompt_tokens,
        generated_tokens=completion.generated_tokens,
        receipt=engine_pb2.Receipt(
            cached_tokens=receipt.cached_tokens,
            wait_us=_micros(receipt.wait),
            prefill_us=_micros(receipt.prefill),
            decode_us=_micros(receipt.decode),
            preemptions=receipt.preemptions,
        ),
    )


def _load(load: Load) -> engine_pb2.Load:
    return engine_pb2.Load(
        credit=load.credit,
        waiting=load.waiting,
        prefilling=load.prefilling,
        decoding=load.decoding,
        pages_free=load.pages_free,
        pages_cached=load.pages_cached,
        pages_referenced=load.pages_referenced,
        steps=load.steps,
        prefill_tokens=load.prefill_tokens,
        cached_tokens=load.cached_tokens,
        generated_tokens=load.generated_tokens,
        evicted_pages=load.evicted_pages,
        preemptions=load.preemptions,
        execute_us=_micros(load.execute_seconds),
        step_us=_micros(load.step_seconds),
        execute_total_us=_micros(load.execute_total_seconds),
        gap_total_us=_micros(load.gap_total_seconds),
        gap_cpu_us=_micros(load.gap_cpu_seconds),
        gaps=load.gaps,
    )


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)
