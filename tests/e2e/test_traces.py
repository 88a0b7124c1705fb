"""Traces by OTLP: one of a request, from HTTP to the shard, as part of the caller's."""

from typing import Any

from otlp_collector import Collector, fields
from running_server import RunningServer, Start, free_port, wait_until

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
MARKER = "Marzipan4711"
BODY = {"inputs": f"{MARKER} {MARKER}", "parameters": {"max_new_tokens": 5}}


def generate(server: RunningServer, flags: str = "01") -> Any:
    """A request whose caller traces, or does not."""
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-{flags}"}
    return server.http.post("/generate", json=BODY, headers=headers).raise_for_status()


def test_a_request_is_a_trace_from_http_to_the_shard(start: Start) -> None:
    flags = ("--executor", "oracle", "--otlp-service-name", "mine")
    with Collector() as collector:
        with start(*flags, "--otlp-endpoint", collector.endpoint) as server:
            generate(server)
            wait_until(lambda: len(collector.spans(TRACE)) == 7, "all spans are exported")
            # Counted when the collector has answered.
            exported = 'tgi_trace_spans{outcome="exported"}'
            wait_until(lambda: server.metrics().get(exported, 0) >= 7, "they are counted")
        spans = {span.name: span for span in collector.spans(TRACE)}
        parents = {
            "POST /generate": CALLER,
            "prepare": spans["POST /generate"].span_id.hex(),
            "generate": spans["POST /generate"].span_id.hex(),
            "queue": spans["generate"].span_id.hex(),
            "shard.queue": spans["generate"].span_id.hex(),
            "shard.prefill": spans["generate"].span_id.hex(),
            "shard.decode": spans["generate"].span_id.hex(),
        }
        assert {name: span.parent_span_id.hex() for name, span in spans.items()} == parents
        for span in spans.values():
            assert span.start_time_unix_nano <= span.end_time_unix_nano
        request = fields(spans["POST /generate"])
        assert (request["http.route"], request["http.response.status_code"]) == ("/generate", 200)
        assert fields(spans["generate"])["generated_tokens"] == 5
        assert collector.services() == {"mine"}
        assert MARKER not in collector.everything()


def test_the_callers_choice_not_to_trace_is_kept(start: Start) -> None:
    with (
        Collector() as collector,
        start("--executor", "oracle", "--otlp-endpoint", collector.endpoint) as server,
    ):
        generate(server, flags="00")
        server.http.get("/info")
        wait_until(lambda: "GET /info" in collector.everything(), "the other one is exported")
        assert not collector.spans(TRACE)


def test_a_dead_collector_hurts_no_request(start: Start) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with start("--executor", "oracle", "--otlp-endpoint", endpoint) as server:
        for _ in range(20):
            generate(server)
        failed = 'tgi_trace_spans{outcome="failed"}'
        wait_until(lambda: server.metrics().get(failed, 0) > 0, "the failure is counted")
        generate(server)


def test_an_endpoint_that_is_none_is_refused(start: Start) -> None:
    server = start("--executor", "oracle", "--otlp-endpoint", "https://collector:4317")
    assert server.wait_exit() == 64
    assert "--otlp-endpoint" in server.output()
