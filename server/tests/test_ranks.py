"""Two ranks over gloo: rank 1 follows the plans of rank 0 and ends with equal KV."""

import hashlib
import multiprocessing as mp
import socket

import numpy as np
from engine_harness import (
    EPOCH,
    VOCAB_SIZE,
    WORDS,
    Bench,
    Shape,
    expected_greedy,
    make_request,
    prompt,
)
from text_generation_server._native import PagePool, SamplingParams
from text_generation_server.executor.oracle import OracleExecutor
from text_generation_server.executor.ranks import (
    LeadingExecutor,
    decode_plan,
    encode_plan,
    follow,
    join_ranks,
)
from text_generation_server.executor.step import Executor, SlotOpening, StepPlan, Ticket

WORLD_SIZE = 2


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Recording(OracleExecutor):
    """An oracle that digests all it drew and its whole pool."""

    def __init__(self) -> None:
        super().__init__(WORDS, VOCAB_SIZE, page_tokens=16, epoch=EPOCH)
        self._drawn = hashlib.sha256()

    def bind(self, pool: PagePool, num_slots: int) -> None:
        np.frombuffer(memoryview(pool), dtype=np.uint8)[:] = 0xAB
        self._pool = pool
        super().bind(pool, num_slots)

    def submit(self, plan: StepPlan) -> Ticket:
        ticket = super().submit(plan)
        self._drawn.update(ticket.wait().token_ids.tobytes())
        return ticket

    def digest(self) -> str:
        self._drawn.update(memoryview(self._pool))
        return self._drawn.hexdigest()


def run_rank_1(port: int, digests: "mp.Queue[str]") -> None:
    executor = Recording()
    join_ranks(1, WORLD_SIZE, f"127.0.0.1:{port}")
    follow(executor)
    digests.put(executor.digest())


def test_second_rank_follows_the_broadcast_plans() -> None:
    context = mp.get_context("spawn")
    digests: mp.Queue[str] = context.Queue()
    port = free_port()
    follower = context.Process(target=run_rank_1, args=(port, digests))
    follower.start()
    try:
        join_ranks(0, WORLD_SIZE, f"127.0.0.1:{port}")
        leader = Recording()
        leading = LeadingExecutor(leader)
        bench = Bench(Shape(max_step_tokens=32), wrap=lambda _: _bound(leading))
        requests = [make_request(i, prompt(40 + i, seed=i), 6) for i in range(5)]
        answers = [bench.admit(request) for request in requests]
        bench.run()
        leading.close()
        assert [answer.ids for answer in answers] == [expected_greedy(r) for r in requests]
        assert digests.get(timeout=120) == leader.digest()
        follower.join(120)
        assert follower.exitcode == 0
    finally:
        if follower.is_alive():
            follower.kill()
        follower.join()


def _bound(executor: Executor) -> Executor:
    executor.bind(PagePool(Shape().num_pages, executor.facts.page_bytes), Shape().max_batch_size)
    return executor


def test_plan_survives_the_wire() -> None:
    params = SamplingParams(temperature=0.5, seed=2**63, top_n=2, logit_bias=[(7, 0.1), (2, -1)])
    opening = SlotOpening(3, params, prompt(5), prompt(2, seed=1))
    plan = StepPlan(
        copies=np.array([[1, 2]], np.int32),
        tokens=prompt(6),
        domains=np.arange(6, dtype=np.uint64),
        query_starts=np.array([0, 6], np.int32),
        context_lengths=np.array([3], np.int32),
        page_starts=np.array([0, 1], np.int32),
        pages=np.array([5], np.int32),
        sample_rows=np.array([5], np.int32),
        sample_slots=np.array([3], np.int32),
        mask_rows=np.array([0], np.int32),
        masks=np.array([[2**32 - 1, 7]], np.uint32),
        slots_opened=(opening,),
    )
    again = decode_plan(encode_plan(plan))
    for name in StepPlan.__dataclass_fields__:
        if name != "slots_opened":
            np.testing.assert_array_equal(getattr(again, name), getattr(plan, name))
    [slot] = again.slots_opened
    assert (slot.slot, slot.params.seed, slot.params.temperature) == (3, 2**63, 0.5)
    assert slot.params.logit_bias == params.logit_bias
    np.testing.assert_array_equal(slot.prompt, opening.prompt)
    np.testing.assert_array_equal(slot.generated, opening.generated)
