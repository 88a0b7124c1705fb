"""What the engine logs of a request: by its id, and nothing of its text."""

import logging

import pytest
from engine_harness import POISON, Bench, Fragile, Shape, make_request, prompt, tokens_of

SECOND = 1.0


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Level, request and message of each line."""
    return [(r.levelname, getattr(r, "request_id", ""), r.getMessage()) for r in caplog.records]


def test_a_refusal_says_whose_and_why(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.admit(make_request(1, prompt(20), 50_000, x_request_id="large"))
    ((level, request_id, message),) = lines(caplog)
    assert (level, request_id) == ("WARNING", "large")
    assert message.startswith("refused: ") and "exceed the limit" in message


def test_a_cancel_is_told_and_a_regular_end_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench()
    for number, name in enumerate(("left", "stopped", "whole")):
        bench.admit(make_request(number, prompt(20, seed=number), 4, x_request_id=name))
    bench.step()
    bench.engine.cancel(0)
    bench.engine.cancel(1, keep_tokens=1)
    bench.run()
    assert lines(caplog) == [("INFO", "left", "cancelled after 1 tokens")]


def test_at_level_debug_every_request_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bench = Bench()
    bench.admit(make_request(1, prompt(20), 4, x_request_id="whole"))
    bench.run()
    assert lines(caplog) == [
        ("DEBUG", "whole", "admitted: prompt of 20 tokens, answer up to 4"),
        ("DEBUG", "whole", "answered after 4 tokens"),
    ]


def test_a_preemption_names_the_junior(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(Shape(page_tokens=4, num_pages=38, max_batch_size=2))
    for number, name in enumerate(("senior", "junior")):
        bench.admit(make_request(number, prompt(40, seed=number), 40, x_request_id=name))
    bench.run()
    told = lines(caplog)
    assert len(told) == bench.engine.load().preemptions > 0
    assert {(level, name) for level, name, _ in told} == {("INFO", "junior")}
    assert all(message.endswith("tokens: pages ran out") for _, _, message in told)


def test_a_request_out_of_time_is_told(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.admit(make_request(1, prompt(20), 8, deadline=-SECOND, x_request_id="slow"))
    bench.run()
    ((level, request_id, message),) = lines(caplog)
    assert (level, request_id) == ("WARNING", "slow")
    assert "ran out of time" in message


def test_a_failed_step_names_the_request_that_caused_it(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(wrap=Fragile)
    bench.admit(make_request(1, prompt(20), 4, x_request_id="sound"))
    bench.admit(make_request(2, tokens_of(POISON, 9, 10), 4, x_request_id="poisoned"))
    bench.run()
    named = [(level, name) for level, name, _ in lines(caplog) if name]
    assert named == [("ERROR", "poisoned")]
