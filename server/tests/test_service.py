"""The gRPC service over a real Unix socket, with the oracle behind it."""

import queue
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from engine_harness import Bench, expected_greedy, make_request, prompt
from grpc_health.v1 import health_pb2, health_pb2_grpc
from text_generation_server.engine.loop import EngineLoop
from text_generation_server.pb import engine_pb2 as pb
from text_generation_server.pb import engine_pb2_grpc
from text_generation_server.service import (
    ASSET_CHUNK_BYTES,
    PROTOCOL_VERSION,
    SERVICE_NAME,
    Served,
    make_server,
)

TOKENIZER = bytes(range(256)) * 10_000  # more than two chunks
TIMEOUT = 60


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[grpc.Channel]:
    loop = EngineLoop(Bench(clock=time.monotonic).engine, lambda: None)
    served = Served(pb.EngineInfo(model_id="m"), {"tokenizer.json": TOKENIZER, "empty": b""})
    address = f"unix:{tmp_path}/s.sock"
    server = make_server(address, served, loop)
    loop.start()
    server.start()
    with grpc.insecure_channel(address) as channel:
        yield channel
    server.stop(0).wait()
    loop.stop()


class Router:
    """One `Serve` stream."""

    def __init__(self, channel: grpc.Channel, protocol_version: int = PROTOCOL_VERSION) -> None:
        self._commands: queue.Queue[pb.RouterCommand | None] = queue.Queue()
        self.send(hello=pb.Hello(protocol_version=protocol_version))
        stub = engine_pb2_grpc.EngineStub(channel)
        self.events = stub.Serve(iter(self._commands.get, None), timeout=TIMEOUT)

    def send(self, **command: pb.Hello | pb.Admit | pb.Cancel) -> None:
        self._commands.put(pb.RouterCommand(**command))

    def close(self) -> None:
        self._commands.put(None)

    def answer(self, request_id: int) -> tuple[list[int], pb.Finished]:
        """The tokens of a request and its terminal event."""
        ids = []
        for event in self.events:
            ids += [token.token_id for token in event.step.tokens if token.request_id == request_id]
            for finished in event.step.finished:
                if finished.request_id == request_id:
                    return ids, finished
        raise AssertionError("the stream ended without a terminal event")


def message(
    request_id: int, length: int = 20, max_new_tokens: int = 5, seed: int = 0
) -> pb.Request:
    return pb.Request(
        id=request_id,
        tokens=prompt(length, seed).astype("<u4").tobytes(),
        generated_from=length,
        max_new_tokens=max_new_tokens,
        sampling=pb.Sampling(top_p=1, typical_p=1, repetition_penalty=1),
    )


def test_answers_a_request(channel: grpc.Channel) -> None:
    router = Router(channel)
    assert next(router.events).load.credit > 0
    router.send(admit=pb.Admit(requests=[message(5)]))
    ids, finished = router.answer(5)
    assert ids == expected_greedy(make_request(5, prompt(20), 5))
    assert finished.completion.reason == pb.FINISH_REASON_LENGTH
    assert finished.completion.prompt_tokens == 20
    assert finished.completion.receipt.prefill_us > 0
    router.close()


def test_a_bias_reaches_the_sampler(channel: grpc.Channel) -> None:
    biased = message(5)
    biased.sampling.logit_bias.add(token_id=9, bias=1000)
    router = Router(channel)
    router.send(admit=pb.Admit(requests=[biased]))
    ids, _ = router.answer(5)
    assert ids == [9] * 5
    router.close()


def test_several_requests_of_one_admit_are_answered_apart(channel: grpc.Channel) -> None:
    router = Router(channel)
    router.send(admit=pb.Admit(requests=[message(i, seed=i) for i in range(4)]))
    answers: dict[int, list[int]] = {i: [] for i in range(4)}
    finished = 0
    for event in router.events:
        for token in event.step.tokens:
            answers[token.request_id].append(token.token_id)
        finished += len(event.step.finished)
        if finished == 4:
            break
    for i, ids in answers.items():
        assert ids == expected_greedy(make_request(i, prompt(20, seed=i), 5))


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        ({"tokens": b"abc"}, "3 bytes"),
        ({"tokens": b""}, "0 bytes"),
        ({"generated_from": 0}, "prompt of 0 tokens"),
        ({"generated_from": 21}, "prompt of 21 tokens"),
        ({"sampling": pb.Sampling(top_p=2, typical_p=1, repetition_penalty=1)}, "top_p"),
        ({"max_new_tokens": 5000}, "exceed the limit"),
        ({"domains": [pb.DomainSpan(domain=1, length=19)]}, "domains cover 19"),
    ],
)
def test_broken_request_fails_alone(
    channel: grpc.Channel,
    broken: dict[str, object],
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = message(1)
    bad.x_request_id = "broken"
    for name, value in broken.items():
        bad.ClearField(name)
        bad.MergeFrom(pb.Request(**{name: value}))
    router = Router(channel)
    router.send(admit=pb.Admit(requests=[bad, message(2)]))
    ids, finished = router.answer(1)
    assert ids == []
    assert finished.error.code == pb.ERROR_CODE_INVALID
    assert text in finished.error.message
    told = [(r.getMessage(), getattr(r, "request_id", "")) for r in caplog.records]
    assert told == [(f"refused: {finished.error.message}", "broken")]
    ids, finished = router.answer(2)
    assert finished.HasField("completion")


def test_cancel_keeps_what_it_says(channel: grpc.Channel) -> None:
    router = Router(channel)
    router.send(admit=pb.Admit(requests=[message(1, max_new_tokens=900)]))
    router.send(cancel=pb.Cancel(id=1, keep_tokens=0))
    _, finished = router.answer(1)
    assert finished.completion.reason == pb.FINISH_REASON_CANCELLED
    assert finished.completion.generated_tokens == 0


def test_new_stream_ends_the_old_one(channel: grpc.Channel) -> None:
    old = Router(channel)
    next(old.events)
    new = Router(channel)
    next(new.events)
    new.send(admit=pb.Admit(requests=[message(1)]))
    ids, _ = new.answer(1)
    assert len(ids) == 5
    assert list(old.events) == []


@pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1])
def test_refuses_another_protocol(channel: grpc.Channel, version: int) -> None:
    router = Router(channel, version)
    with pytest.raises(grpc.RpcError) as error:
        next(router.events)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_assets_come_in_chunks(channel: grpc.Channel) -> None:
    chunks = list(engine_pb2_grpc.EngineStub(channel).Assets(pb.AssetsRequest(), timeout=TIMEOUT))
    assert all(len(chunk.data) <= ASSET_CHUNK_BYTES for chunk in chunks)
    assert b"".join(c.data for c in chunks if c.name == "tokenizer.json") == TOKENIZER


def test_health_and_info_answer(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE_NAME):
        status = health.Check(
            health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT
        ).status
        assert status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        health.Check(health_pb2.HealthCheckRequest(service="x"), timeout=TIMEOUT)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    info = engine_pb2_grpc.EngineStub(channel).Info(pb.InfoRequest(), timeout=TIMEOUT)
    assert info.model_id == "m"


def test_packed_tokens_are_little_endian(channel: grpc.Channel) -> None:
    assert np.frombuffer(message(1).tokens, "<u4").tolist() == prompt(20).tolist()
