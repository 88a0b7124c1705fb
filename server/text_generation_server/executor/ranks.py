"""Several ranks, one model: rank 0 broadcasts each `StepPlan`, the others follow it.

Page ids mean the same on every rank, and all ranks draw the same tokens; only rank 0's are looked
at. The plan crosses as one byte tensor, a JSON header before the raw arrays: nothing is unpickled.
"""

import json
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from text_generation_server._native import PagePool, SamplingParams
from text_generation_server.executor.step import Executor, SlotOpening, StepPlan, Ticket

_ARRAYS = {
    "copies": np.int32,
    "tokens": np.uint32,
    "domains": np.uint64,
    "query_starts": np.int32,
    "context_lengths": np.int32,
    "page_starts": np.int32,
    "pages": np.int32,
    "sample_rows": np.int32,
    "sample_slots": np.int32,
    "mask_rows": np.int32,
    "masks": np.uint32,
    "score_tokens": np.uint32,
    "score_top_n": np.uint32,
}
NEVER = timedelta(days=365)
"""An idle server broadcasts nothing; the launcher, not a timeout, ends ranks whose peer is gone."""

_PARAMS = (
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "top_n",
    "logit_bias",
    "watermark_gamma",
    "watermark_delta",
)


def join_ranks(rank: int, world_size: int, address: str) -> None:
    """Meet the other ranks at `address` ("host:port"); blocks until all are there."""
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{address}",
        rank=rank,
        world_size=world_size,
        timeout=NEVER,
    )


class LeadingExecutor:
    """Rank 0: broadcasts every plan before it runs it itself."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.facts = executor.facts

    def bind(self, pool: PagePool, num_slots: int) -> None:
        """Bind the own executor and tell the others the size of the pool."""
        _broadcast(json.dumps({"num_pages": pool.num_pages, "num_slots": num_slots}).encode())
        self._executor.bind(pool, num_slots)

    def submit(self, plan: StepPlan) -> Ticket:
        """Start the step on all ranks."""
        _broadcast(encode_plan(plan))
        return self._executor.submit(plan)

    def close(self) -> None:
        """End all ranks."""
        _broadcast(b"")
        self._executor.close()
        dist.destroy_process_group()


def follow(executor: Executor) -> None:
    """Run the plans of rank 0 until it closes. Raises RuntimeError when rank 0 is lost."""
    sizes = json.loads(_receive())
    executor.bind(PagePool(sizes["num_pages"], executor.facts.page_bytes), sizes["num_slots"])
    while data := _receive():
        executor.submit(decode_plan(data)).wait()
    executor.close()
    dist.destroy_process_group()


def _broadcast(data: bytes) -> None:
    size = torch.tensor([len(data)], dtype=torch.int64)
    dist.broadcast(size, src=0)
    if data:
        dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), src=0)


def _receive() -> bytes:
    size = torch.zeros(1, dtype=torch.int64)
    dist.broadcast(size, src=0)
    data = torch.empty(int(size), dtype=torch.uint8)
    if len(data):
        dist.broadcast(data, src=0)
    return data.numpy().tobytes()


def encode_plan(plan: StepPlan) -> bytes:
    """One line of JSON that describes the arrays, then their bytes in that order."""
    arrays = {name: np.ascontiguousarray(getattr(plan, name)) for name in _ARRAYS}
    header = {
        "shapes": {name: array.shape for name, array in arrays.items()},
        "slots": [_describe_slot(opening) for opening in plan.slots_opened],
    }
    tokens = [part for opening in plan.slots_opened for part in (opening.prompt, opening.generated)]
    body = b"".join(array.tobytes() for array in (*arrays.values(), *tokens))
    return b"\n".join([json.dumps(header).encode(), body])


def decode_plan(data: bytes) -> StepPlan:
    """The inverse of `encode_plan`."""
    header, _, body = data.partition(b"\n")
    description = json.loads(header)
    reader = _ArrayReader(body)
    arrays: dict[str, Any] = {
        name: reader.take(_ARRAYS[name], shape) for name, shape in description["shapes"].items()
    }
    slots = tuple(
        SlotOpening(
            slot["slot"],
            _read_params(slot["params"]),
            reader.take(np.uint32, [slot["prompt"]]),
            reader.take(np.uint32, [slot["generated"]]),
        )
        for slot in description["slots"]
    )
    return StepPlan(**arrays, slots_opened=slots)


def _describe_slot(opening: SlotOpening) -> dict[str, Any]:
    return {
        "slot": opening.slot,
        "params": {name: getattr(opening.params, name) for name in _PARAMS},
        "prompt": len(opening.prompt),
        "generated": len(opening.generated),
    }


def _read_params(values: dict[str, Any]) -> SamplingParams:
    pairs = [(token, bias) for token, bias in values["logit_bias"]]  # JSON knows no tuples
    return SamplingParams(**values | {"logit_bias": pairs})


class _ArrayReader:
    """Takes arrays off the front of a buffer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def take(self, dtype: npt.DTypeLike, shape: list[int]) -> npt.NDArray[Any]:
        array = np.frombuffer(self._data, dtype, int(np.prod(shape)), self._offset)
        self._offset += array.nbytes
        return array.reshape(shape)
