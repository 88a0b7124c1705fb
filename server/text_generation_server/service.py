"""The gRPC service of rank 0: `Info`, `Assets`, `Serve` and health.

grpcio's threaded server calls in here; everything about requests goes through the engine loop's
command queue, every event comes back through a bounded queue of the stream it belongs to.
"""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from text_generation_server.engine.loop import Admit, Attach, Cancel, Detach, EngineLoop
from text_generation_server.engine.request import Failure, Load, Request, StepEvents
from text_generation_server.pb import engine_pb2, engine_pb2_grpc
from text_generation_server.translation import event_to_proto, request_from_proto

logger = logging.getLogger(__name__)

PROTOCOL_VERSION = 4
SERVICE_NAME = "text_generation_server.v1.Engine"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
ASSET_CHUNK_BYTES = 1024 * 1024
MAX_EVENTS = 8192
"""Events that may wait for the router; beyond that it counts as gone."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the service tells about the model."""

    info: engine_pb2.EngineInfo
    assets: Mapping[str, bytes]


class EngineService(engine_pb2_grpc.EngineServicer):
    """Translates between the wire and the engine loop."""

    def __init__(self, served: Served, loop: EngineLoop) -> None:
        self._served = served
        self._loop = loop
        self._streams = itertools.count()

    def Info(
        self, request: engine_pb2.InfoRequest, context: grpc.ServicerContext
    ) -> engine_pb2.EngineInfo:
        """Facts about model and memory."""
        return self._served.info

    def Assets(
        self, request: engine_pb2.AssetsRequest, context: grpc.ServicerContext
    ) -> Iterator[engine_pb2.AssetChunk]:
        """The files the router needs, in chunks."""
        for name, data in self._served.assets.items():
            for start in range(0, len(data), ASSET_CHUNK_BYTES):
                chunk = data[start : start + ASSET_CHUNK_BYTES]
                yield engine_pb2.AssetChunk(name=name, data=chunk)

    def Serve(
        self,
        request_iterator: Iterator[engine_pb2.RouterCommand],
        context: grpc.ServicerContext,
    ) -> Iterator[engine_pb2.EngineEvent]:
        """The data path: commands in on a reader thread, events out on this one."""
        _expect_hello(request_iterator, context)
        stream = _Stream(next(self._streams), self._loop)
        context.add_callback(stream.detach)
        self._loop.post(Attach(stream.number, stream))
        reader = threading.Thread(
            target=stream.read, args=(request_iterator,), name="serve-reader", daemon=True
        )
        reader.start()
        yield from stream.events()


class _Stream:
    """One `Serve` call: its number, and the events that wait to be sent."""

    def __init__(self, number: int, loop: EngineLoop) -> None:
        self.number = number
        self._loop = loop
        self._events: queue.Queue[StepEvents | Load | None] = queue.Queue(MAX_EVENTS)
        self._closed = threading.Event()

    def offer(self, event: StepEvents | Load) -> bool:
        """Queue an event; False when the stream is closed or too far behind."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._closed.set()
        return not self._closed.is_set()

    def detach(self) -> None:
        """End the stream because the router has; called when the call ends, however it does."""
        self._loop.post(Detach(self.number))
        self.end()

    def end(self) -> None:
        """Let `events` come to its end."""
        self._closed.set()
        try:
            self._events.put_nowait(None)  # wakes `events`
        except queue.Full:
            pass  # `events` has something to wake up for

    def events(self) -> Iterator[engine_pb2.EngineEvent]:
        """The queued events as messages, until the stream is closed."""
        while not self._closed.is_set():
            event = self._events.get()
            if event is not None:
                yield event_to_proto(event)

    def read(self, commands: Iterator[engine_pb2.RouterCommand]) -> None:
        """Hand the router's commands to the engine until the router ends the stream."""
        try:
            for command in commands:
                self._handle(command)
        except grpc.RpcError:
            pass  # the call was ended; grpc has called `detach`
        except Exception:
            logger.exception("the command stream failed")
        self.detach()

    def _handle(self, command: engine_pb2.RouterCommand) -> None:
        kind = command.WhichOneof("command")
        if kind == "admit":
            self._admit(command.admit)
        elif kind == "cancel":
            keep = command.cancel.keep_tokens if command.cancel.HasField("keep_tokens") else None
            self._loop.post(Cancel(self.number, command.cancel.id, keep))
        else:
            logger.warning("ignored a command of kind %s", kind)

    def _admit(self, admit: engine_pb2.Admit) -> None:
        now = time.monotonic()
        requests: list[Request] = []
        failures: list[Failure] = []
        for message in admit.requests:
            parsed = request_from_proto(message, now)
            if isinstance(parsed, Request):
                requests.append(parsed)
            else:
                fields = {"request_id": message.x_request_id}
                logger.warning("refused: %s", parsed.message, extra=fields)
                failures.append(parsed)
        if failures:
            self.offer(StepEvents((), tuple(failures)))
        self._loop.post(Admit(self.number, tuple(requests)))


def _expect_hello(
    commands: Iterator[engine_pb2.RouterCommand], context: grpc.ServicerContext
) -> None:
    first = next(commands, None)
    if first is None or first.WhichOneof("command") != "hello":
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first command must be a hello")
    elif first.hello.protocol_version != PROTOCOL_VERSION:
        context.abort(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"router speaks protocol {first.hello.protocol_version}, shard {PROTOCOL_VERSION}:"
            " install both of the same version",
        )


class HealthService(health_pb2_grpc.HealthServicer):
    """Health from the engine's progress: a dead engine or an overdue step is not serving."""

    def __init__(self, loop: EngineLoop) -> None:
        self._loop = loop

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """The status of the whole server ("") or of the engine service."""
        if request.service not in ("", SERVICE_NAME):
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
        status = "SERVING" if self._loop.healthy() else "NOT_SERVING"
        return health_pb2.HealthCheckResponse(status=status)


def make_server(address: str, served: Served, loop: EngineLoop) -> grpc.Server:
    """A server bound to `address` ("unix:/path" or "host:port"), not started. Raises RuntimeError
    when the address cannot be bound."""
    server = grpc.server(
        # Two long streams (an old one may still be ending) and room for short calls.
        ThreadPoolExecutor(max_workers=8, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )
    engine_pb2_grpc.add_EngineServicer_to_server(EngineService(served, loop), server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(loop), server)
    server.add_insecure_port(address)
    return server
