"""A collector of traces: takes spans by OTLP over gRPC and keeps them."""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import grpc
from grpc_tools import protoc

PROTO = "otlp_collector.proto"
EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"


def _messages() -> ModuleType:
    """The messages of the proto file beside this one."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["protoc", f"-I{Path(__file__).parent}", f"--python_out={folder}", PROTO]
        assert protoc.main(arguments) == 0
        sys.path.insert(0, folder)
        try:
            import otlp_collector_pb2  # type: ignore[import-not-found, unused-ignore]
        finally:
            sys.path.remove(folder)
    return otlp_collector_pb2


class Collector:
    """Listens within its `with` block."""

    def __init__(self) -> None:
        self._messages = _messages()
        self._requests: list[Any] = []
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=self._messages.ExportTraceServiceRequest.FromString,
            response_serializer=self._messages.ExportTraceServiceResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler(EXPORT, {"Export": export})
        self._server.add_generic_rpc_handlers((handler,))
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(None).wait()

    def _export(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._requests.append(request)
        return self._messages.ExportTraceServiceResponse()

    def services(self) -> set[str]:
        """Names of the services that sent spans."""
        resources = [
            spans.resource for request in self._requests for spans in request.resource_spans
        ]
        return {fields(resource)["service.name"] for resource in resources}

    def spans(self, trace_id: str) -> list[Any]:
        """The spans of a trace, in order of their starts."""
        scopes = (
            scope
            for request in list(self._requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
        )
        spans = [
            span for scope in scopes for span in scope.spans if span.trace_id.hex() == trace_id
        ]
        return sorted(spans, key=lambda span: span.start_time_unix_nano)

    def everything(self) -> str:
        """All that was received, as text."""
        return "\n".join(map(str, self._requests))


def fields(of: Any) -> dict[str, Any]:
    """Attributes of a span or a resource."""
    pairs = ((pair.key, pair.value) for pair in of.attributes)
    return {key: getattr(value, value.WhichOneof("value") or "int_value") for key, value in pairs}
