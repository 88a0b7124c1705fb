"""The engine's thread: streams come and go, health tells the truth."""

import queue
from collections.abc import Iterator

import pytest
from engine_harness import POISON, Bench, Fragile, expected_greedy, make_request, prompt, tokens_of
from text_generation_server.engine.loop import (
    Admit,
    Attach,
    Cancel,
    Command,
    Detach,
    EngineLoop,
)
from text_generation_server.engine.request import (
    Completion,
    Finished,
    FinishReason,
    Load,
    StepEvents,
)

TIMEOUT = 60


class Stream:
    """A sink that keeps what it was given."""

    def __init__(self, accepts: bool = True) -> None:
        self._events: queue.Queue[StepEvents | Load] = queue.Queue()
        self._accepts = accepts
        self.ended = False

    def offer(self, event: StepEvents | Load) -> bool:
        self._events.put(event)
        return self._accepts

    def end(self) -> None:
        self.ended = True

    def next(self) -> StepEvents | Load:
        return self._events.get(timeout=TIMEOUT)

    def until_finished(self) -> tuple[list[int], Finished]:
        ids: list[int] = []
        while True:
            event = self.next()
            if isinstance(event, StepEvents):
                ids += [token.token_id for token in event.tokens]
                if event.finished:
                    return ids, event.finished[0]

    def until_idle(self) -> Load:
        while True:
            event = self.next()
            if isinstance(event, Load) and event.waiting == event.prefilling == event.decoding == 0:
                return event

    def empty(self) -> bool:
        return self._events.empty()


class Running:
    """A loop with its bench and a flag for its failure."""

    def __init__(self) -> None:
        self.failures: queue.Queue[None] = queue.Queue()
        self.bench = Bench(wrap=Fragile)
        self.loop = EngineLoop(self.bench.engine, lambda: self.failures.put(None))
        self.loop.start()

    def post(self, *commands: Command) -> None:
        for command in commands:
            self.loop.post(command)


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    if running.loop.healthy():
        running.loop.stop()


def test_first_event_is_the_load(running: Running) -> None:
    stream = Stream()
    running.post(Attach(1, stream))
    load = stream.next()
    assert isinstance(load, Load)
    assert load.credit > 0


def test_serves_a_request(running: Running) -> None:
    stream, request = Stream(), make_request(1, prompt(20), 5)
    running.post(Attach(1, stream), Admit(1, (request,)))
    ids, finished = stream.until_finished()
    assert ids == expected_greedy(request)
    assert isinstance(finished, Completion)
    assert stream.until_idle().pages_referenced == 0


def test_refusal_is_a_terminal_event(running: Running) -> None:
    stream = Stream()
    running.post(Attach(1, stream), Admit(1, (make_request(1, tokens_of(9999)),)))
    ids, finished = stream.until_finished()
    assert ids == []
    assert not isinstance(finished, Completion)


def test_new_stream_cancels_the_requests_of_the_old_one(running: Running) -> None:
    old, new = Stream(), Stream()
    running.post(Attach(1, old), Admit(1, (make_request(1, prompt(20), 900),)))
    while not isinstance(old.next(), StepEvents):
        pass
    request = make_request(1, prompt(30, seed=1), 3)
    running.post(Attach(2, new), Admit(1, (make_request(7, prompt(9), 3),)), Admit(2, (request,)))
    ids, finished = new.until_finished()
    assert ids == expected_greedy(request), "neither the old request nor a late admit answers"
    assert isinstance(finished, Completion)
    assert finished.reason is FinishReason.LENGTH
    assert old.ended


def test_detach_cancels_and_idles(running: Running) -> None:
    stream, other = Stream(), Stream()
    running.post(Attach(1, stream), Admit(1, (make_request(1, prompt(20), 900),)))
    while not isinstance(stream.next(), StepEvents):
        pass
    running.post(Detach(1), Attach(2, other))
    assert other.until_idle().pages_referenced == 0


def test_cancel_reaches_a_running_request(running: Running) -> None:
    stream = Stream()
    running.post(Attach(1, stream), Admit(1, (make_request(1, prompt(20), 900),)))
    while not isinstance(stream.next(), StepEvents):
        pass
    running.post(Cancel(1, 1, None))
    _, finished = stream.until_finished()
    assert isinstance(finished, Completion)
    assert finished.reason is FinishReason.CANCELLED


def test_sink_that_takes_no_more_is_detached(running: Running) -> None:
    full, other = Stream(accepts=False), Stream()
    running.post(Attach(1, full), Admit(1, (make_request(1, prompt(20), 900),)), Attach(2, other))
    assert other.until_idle().pages_referenced == 0


def test_broken_engine_is_unhealthy_and_says_so(running: Running) -> None:
    stream = Stream()
    poisoned = tuple(make_request(i, tokens_of(POISON), 1) for i in range(3))
    assert running.loop.healthy()
    running.post(Attach(1, stream))
    for request in poisoned:
        running.post(Admit(1, (request,)))
        if running.loop.healthy():
            stream.until_idle() if request is not poisoned[-1] else None
    running.failures.get(timeout=TIMEOUT)
    assert not running.loop.healthy()
