"""The engine's thread: takes commands, steps while there is work, hands events to the sink.

Commands come from gRPC threads through one bounded queue; the engine itself is touched by this
thread alone. At most one sink is attached: the stream that the router opened last. Commands of an
older stream are ignored, its requests were cancelled when the newer one came.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from text_generation_server.engine.engine import Engine
from text_generation_server.engine.request import Load, Request, StepEvents

logger = logging.getLogger(__name__)

MAX_COMMANDS = 4096
"""Commands that may wait for the engine; the gRPC reader waits beyond that."""

LOAD_INTERVAL = 0.1
"""Seconds between load reports while work runs and the credit does not change."""

STEP_DEADLINE = 120.0
"""Seconds after which a running step counts as overdue."""


class Sink(Protocol):
    """Where events go. Called on the engine's thread; never blocks."""

    def offer(self, event: StepEvents | Load) -> bool:
        """Take an event; False when it can take no more, which detaches the sink."""
        ...

    def end(self) -> None:
        """Nothing will follow: another stream has taken the place."""
        ...


@dataclass(frozen=True, slots=True)
class Attach:
    """A new stream: cancel everything, send events there from now on."""

    stream: int
    sink: Sink


@dataclass(frozen=True, slots=True)
class Detach:
    """A stream has ended."""

    stream: int


@dataclass(frozen=True, slots=True)
class Admit:
    """Requests of a stream."""

    stream: int
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The end of a request of a stream."""

    stream: int
    request_id: int
    keep_tokens: int | None


Command = Attach | Detach | Admit | Cancel


class EngineLoop:
    """Runs an engine on a thread of its own."""

    def __init__(self, engine: Engine, on_failure: Callable[[], None]) -> None:
        """`on_failure` is called on the engine's thread when the engine cannot go on."""
        self._engine = engine
        self._on_failure = on_failure
        self._commands: queue.Queue[Command | None] = queue.Queue(MAX_COMMANDS)
        self._stream = -1
        self._sink: Sink | None = None
        self._reported: Load | None = None
        self._reported_at = 0.0
        self._step_started: float | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step in flight and wait for it."""
        self._commands.put(None)
        self._thread.join()

    def post(self, command: Command) -> None:
        """Hand a command to the engine. Blocks while MAX_COMMANDS wait."""
        self._commands.put(command)

    def healthy(self) -> bool:
        """Whether the thread lives and its step is not overdue. Callable from any thread."""
        started = self._step_started
        overdue = started is not None and time.monotonic() - started > STEP_DEADLINE
        return self._thread.is_alive() and not self._failed and not overdue

    def _run(self) -> None:
        _name_thread("engine")
        try:
            while self._take_commands():
                if self._engine.has_work:
                    self._step()
                self._report()
        except Exception:
            self._failed = True
            logger.exception("the engine failed")
            self._on_failure()

    def _take_commands(self) -> bool:
        """Carry out what waits; without work, wait for it. False when the loop shall end."""
        block = not self._engine.has_work
        while block and self._commands.empty() and self._engine.prepare():
            pass
        while block or not self._commands.empty():
            command = self._commands.get()
            if command is None:
                return False
            self._carry_out(command)
            block = False
        return True

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Attach):
            self._detach()
            self._stream, self._sink, self._reported = command.stream, command.sink, None
        elif command.stream != self._stream:
            return
        elif isinstance(command, Detach):
            self._detach()
        elif isinstance(command, Cancel):
            self._engine.cancel(command.request_id, command.keep_tokens)
        else:
            refused = [self._engine.admit(request) for request in command.requests]
            self._send(StepEvents((), tuple(failure for failure in refused if failure)))

    def _step(self) -> None:
        self._step_started = time.monotonic()
        events = self._engine.step()
        self._step_started = None
        self._send(events)

    def _report(self) -> None:
        """Send the load when the credit changed or the engine fell idle, and while work runs when
        the last report is old."""
        old, now = self._reported, time.monotonic()
        if (
            old
            and self._engine.has_work
            and old.credit == self._engine.credit
            and now - self._reported_at < LOAD_INTERVAL
        ):
            return
        load = self._engine.load()
        if self._sink is not None and load != old:
            self._reported, self._reported_at = load, now
            self._send(load)

    def _send(self, event: StepEvents | Load) -> None:
        if self._sink is None or not event:
            return
        if not self._sink.offer(event):
            logger.warning("the router does not read its events: its stream is ended")
            self._detach()

    def _detach(self) -> None:
        self._engine.cancel_all()
        if self._sink is not None:
            self._sink.end()
        self._sink = None


def _name_thread(name: str) -> None:
    """Name the calling thread for tools such as `top -H`; Python before 3.14 names it only for
    itself."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    try:
        path.write_text(name)
    except OSError as error:  # no /proc: nothing but those tools looks for the name
        logger.debug("the engine's thread keeps the process's name: %s", error)
