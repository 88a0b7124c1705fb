"""What the shard takes of memory, beside what it is for."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from running_server import RunningServer, Start
from text_generation_server.executor.native_executor import load_native_executor
from text_generation_server.executor.native_options import NativeOptions
from text_generation_server.models.source import resolve
from texts import prose

KV_MEMORY = 150_000_000
"""For about 6,500 tokens."""
WEIGHTS_FACTOR = 1.3
"""Packed weights, beside which the loading of a layer leaves little."""
BESIDE_BYTES = 150_000_000
"""Interpreter, gRPC, tokenizer, buffers of a step, pages populated ahead."""


def anonymous_bytes(process: psutil.Process) -> int:
    """Memory of its own that a process has in use: without files that it maps."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(kilobytes) * 1024


class Budget:
    """Holds a server's shard against its weights and pages."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        model_id = server.http.get("/info").json()["model_id"]
        executor = load_native_executor(resolve(model_id, None, None, None), NativeOptions())
        self._weight_bytes = executor.weight_bytes
        self._page_bytes = executor.facts.page_bytes

    def check(self, when: str) -> None:
        """Fail when the shard has more than it may."""
        pages = self._server.pages()
        used = (pages["cached"] + pages["referenced"]) * self._page_bytes
        found = anonymous_bytes(self._server.shard())
        limit = WEIGHTS_FACTOR * self._weight_bytes + used + BESIDE_BYTES
        figures = (
            f"{when}: {found / 1e6:.0f} MB of {limit / 1e6:.0f} MB allowed; packed weights"
            f" {self._weight_bytes / 1e6:.0f} MB, KV pages in use {used / 1e6:.0f} MB"
        )
        print(figures)
        assert found <= limit, figures


def test_the_shard_has_weights_and_pages_and_little_else(start: Start) -> None:
    with start("--kv-memory", str(KV_MEMORY)) as server:
        budget = Budget(server)
        budget.check("after the start")
        server.generate(prose(1, 2000), 16)
        budget.check("after a prompt of 2,000 tokens")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda seed: server.generate(prose(seed, 200), 48), range(8)))
        budget.check("after 8 streams")
        for seed in range(100, 104):
            server.generate(prose(seed, 2000), 4)
        assert server.metrics()["tgi_evicted_pages"] > 0
        budget.check("after evictions")
