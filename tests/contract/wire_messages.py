"""The messages of wire.rs as the shard's types; run as a program, rewrites messages/python."""

from pathlib import Path

import numpy as np
from google.protobuf.message import Message
from text_generation_server.pb import engine_pb2 as pb
from text_generation_server.service import PROTOCOL_VERSION

FOLDER = Path(__file__).parent / "messages"


def packed(*ids: int) -> bytes:
    """Token ids as they are on the wire."""
    return np.array(ids, dtype="<u4").tobytes()


def admit() -> pb.RouterCommand:
    """A request with every field set, and one with as few as can be."""
    sampling = pb.Sampling(
        temperature=0.5,
        top_k=40,
        top_p=0.75,
        typical_p=0.25,
        repetition_penalty=1.25,
        frequency_penalty=-0.5,
        presence_penalty=1.5,
        seed=2**64 - 1,
        logit_bias=[pb.LogitBias(token_id=300, bias=-100.0)],
        watermark_gamma=0.25,
        watermark_delta=2.0,
    )
    full = pb.Request(
        id=2**40,
        tokens=packed(0, 1, 256, 65_536, 2**32 - 1),
        generated_from=4,
        max_new_tokens=100,
        sampling=sampling,
        stop_token_ids=[2, 300],
        top_n_tokens=5,
        domains=[pb.DomainSpan(domain=0, length=3), pb.DomainSpan(domain=7, length=2)],
        timeout_ms=1_800_000,
        grammar='{"grammars":[]}',
        prompt_logprobs=True,
        progress=True,
        x_request_id="req_1-2.3:4/5+6=7@8",
    )
    bare = pb.Request(id=2, tokens=packed(9), generated_from=1, max_new_tokens=1)
    return pb.RouterCommand(admit=pb.Admit(requests=[full, bare]))


def step() -> pb.EngineEvent:
    """A token, an answer's end, a failure, prompt tokens and a report."""
    top = [pb.TopToken(token_id=300, logprob=-0.125), pb.TopToken(token_id=2, logprob=-2.5)]
    token = pb.Token(request_id=2**40, index=17, token_id=300, logprob=-0.125, top=top)
    receipt = pb.Receipt(
        cached_tokens=199_968, wait_us=11, prefill_us=22_000, decode_us=2**33, preemptions=1
    )
    completion = pb.Completion(
        reason=pb.FINISH_REASON_STOP_TOKEN,
        prompt_tokens=200_000,
        generated_tokens=18,
        receipt=receipt,
    )
    error = pb.Error(
        code=pb.ERROR_CODE_ENGINE_FAILED,
        message="the step failed \N{EN DASH} try again",
        retryable=True,
    )
    finished = [
        pb.Finished(request_id=2**40, completion=completion),
        pb.Finished(request_id=2, error=error),
    ]
    logprobs = [
        pb.TokenLogprob(logprob=-1.5, top=[pb.TopToken(token_id=7, logprob=-0.25)]),
    ]
    prompt = pb.PromptLogprobs(request_id=3, start=65, tokens=logprobs)
    progress = pb.Progress(
        request_id=4, cached_tokens=32, done_tokens=512, total_tokens=100_000, eta_us=2**40
    )
    step = pb.Step(tokens=[token], finished=finished, prompt_logprobs=[prompt], progress=[progress])
    return pb.EngineEvent(step=step)


def load() -> pb.EngineEvent:
    """Fields 1 to 19 with these values."""
    names = [field.name for field in pb.Load.DESCRIPTOR.fields]
    return pb.EngineEvent(load=pb.Load(**{name: i + 1 for i, name in enumerate(names)}))


def info() -> pb.EngineInfo:
    """Every fact."""
    return pb.EngineInfo(
        protocol_version=PROTOCOL_VERSION,
        version="0.1.0",
        model_id="some/model",
        model_revision="abc",
        fingerprint="f",
        executor="oracle",
        device="cpu",
        weights="int4 g32 + int8 head",
        vocab_size=49_152,
        max_input_tokens=262_143,
        max_total_tokens=262_144,
        page_tokens=32,
        num_pages=1000,
        page_bytes=2**34,
        max_batch_size=128,
        max_step_tokens=512,
        eos_token_ids=[2, 300],
        bos_token="<s>",
        eos_token="</s>",
        assets=["tokenizer.json", "chat_template.jinja"],
        hardware="avx512-bf16, 2 threads",
        kv_dtype="bf16",
    )


MESSAGES: dict[str, Message] = {
    "hello": pb.RouterCommand(hello=pb.Hello(protocol_version=PROTOCOL_VERSION)),
    "admit": admit(),
    "cancel": pb.RouterCommand(cancel=pb.Cancel(id=3)),
    "cancel_keep_none": pb.RouterCommand(cancel=pb.Cancel(id=3, keep_tokens=0)),
    "step": step(),
    "load": load(),
    "info": info(),
    "asset": pb.AssetChunk(name="tokenizer.json", data=b"\x00\xff\n"),
}


if __name__ == "__main__":
    for name, message in MESSAGES.items():
        content = message.SerializeToString(deterministic=True)
        (FOLDER / "python" / f"{name}.bin").write_bytes(content)
