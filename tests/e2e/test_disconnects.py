"""Clients that leave, at whatever moment, leave nothing behind."""

import asyncio
import random

import httpx2
import pytest
from running_server import RunningServer, Start, native_request, wait_until
from texts import prose

NUM_DROPPED = 1000
AT_ONCE = 32
PERMITS = 64
"""More than clients at once: the server may learn late that one has left."""
LONGEST_STAY = 0.4
"""Seconds: some leave while their prompt is read, tokenized, queued or prefilled."""
MOST_EVENTS = 20
ENDLESS = 5000
"""Tokens: no answer ends before its client has left."""


async def drop_one(client: httpx2.AsyncClient, number: int, busy: asyncio.Semaphore) -> None:
    """Send a request and leave: every other client at a random time, the rest amid the answer."""
    draw = random.Random(number)
    body = native_request(prose(number, draw.choice([8, 200, 2000])), ENDLESS)
    async with busy:
        if number % 2:
            path = draw.choice(["/generate", "/generate_stream"])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(draw.uniform(0, LONGEST_STAY)):
                    await client.post(path, json=body)
        else:
            async with client.stream("POST", "/generate_stream", json=body) as response:
                assert response.status_code == 200
                events = aiter(response.aiter_lines())
                for _ in range(draw.randint(0, MOST_EVENTS)):
                    assert "error" not in await anext(events)


async def drop_many(url: str) -> None:
    """Drop all requests, some at a time."""
    busy = asyncio.Semaphore(AT_ONCE)
    async with httpx2.AsyncClient(base_url=url, timeout=60.0, trust_env=False) as client:
        await asyncio.gather(*(drop_one(client, number, busy) for number in range(NUM_DROPPED)))


async def fill_permits(url: str) -> list[int]:
    """Statuses of as many concurrent requests as there are permits."""
    limits = httpx2.Limits(max_connections=PERMITS)
    async with httpx2.AsyncClient(
        base_url=url, timeout=60.0, trust_env=False, limits=limits
    ) as client:
        bodies = [native_request(prose(5000 + number, 20), 200) for number in range(PERMITS)]
        answers = await asyncio.gather(*(client.post("/generate", json=body) for body in bodies))
        return [answer.status_code for answer in answers]


def holdings(server: RunningServer) -> dict[str, float]:
    """What requests hold while they live."""
    metrics, pages = server.metrics(), server.pages()
    return {
        "queued": metrics["tgi_queue_size"],
        "in flight": metrics["tgi_requests_in_flight"],
        "tasks": metrics["tgi_tasks"],
        "referenced pages": pages["referenced"],
        "all pages": sum(pages.values()),
        "descriptors of the router": server.processes()[0].num_fds(),
        "descriptors of the shard": server.shard().num_fds(),
    }


def test_1000_dropped_requests_leave_nothing_behind(start: Start) -> None:
    arguments = ("--executor", "oracle", "--max-concurrent-requests", str(PERMITS))
    with start(*arguments) as server:
        server.generate(prose(1, 100), 4)
        wait_until(lambda: server.pages()["referenced"] == 0, "no page is referenced")
        before = holdings(server)
        asyncio.run(drop_many(server.url))
        assert server.metrics()["tgi_disconnects"] >= NUM_DROPPED / 2
        wait_until(lambda: holdings(server) == before, f"the server holds {before}")
        assert asyncio.run(fill_permits(server.url)) == [200] * PERMITS
