"""llama.cpp through its batch API, the fastest way into it from Python.

A sequence id is a slot that keeps its keys and values. A prompt takes the slot that shares the
longest beginning with it, as llama.cpp's own server does, and computes what is missing.
"""

import ctypes
import time

import llama_cpp
import numpy as np
from wire import Arrivals, Settings, serve

_KV_TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0}
_FLASH = {
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


class Slot:
    """A sequence in llama.cpp's memory."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.tokens: list[int] = []
        """Those whose keys and values are in memory."""
        self.pending: list[int] = []
        """Those to compute next."""
        self.used = 0.0

    def shared(self, prompt: list[int]) -> int:
        """Tokens at the beginning of `prompt` that need no computing; never all of them."""
        limit = min(len(self.tokens), len(prompt) - 1)
        same = (i for i in range(limit) if self.tokens[i] != prompt[i])
        return next(same, limit)


class LlamaCpp:
    """See `wire.Engine`."""

    def __init__(self, settings: Settings) -> None:
        options = settings.options
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(settings.model.encode(), model)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = settings.streams * _rounded_up(settings.stream_tokens, 256)
        params.n_seq_max = settings.streams
        params.n_batch = params.n_ubatch = options["batch"]
        params.n_threads = params.n_threads_batch = settings.threads
        params.flash_attn_type = _FLASH[options["flash"]]
        params.type_k = params.type_v = _KV_TYPES[options["kv"]]
        params.kv_unified = options["unified"]
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp refuses {settings}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(options["batch"], 0, 1)
        self._batch_tokens = options["batch"]
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self._slots = [Slot(i) for i in range(settings.streams)]
        self.facts = {"version": llama_cpp.__version__}

    def run(self, prompts: list[list[int]], new_tokens: int) -> Arrivals:
        """See `wire.Engine.run`."""
        began = time.perf_counter()
        slots: list[Slot] = []
        for prompt in prompts:
            slots.append(self._open(prompt, slots))
        arrivals: Arrivals = [[] for _ in prompts]
        remaining = {slot.index: times for slot, times in zip(slots, arrivals, strict=True)}
        while remaining:
            running = [slot for slot in slots if slot.index in remaining]
            drawn = self._step(running)
            now = time.perf_counter() - began
            for slot in drawn:
                times = remaining[slot.index]
                times.append(now)
                if len(times) == new_tokens:
                    del remaining[slot.index]
        return arrivals

    def _open(self, prompt: list[int], taken: list[Slot]) -> Slot:
        best = max(self._slots, key=lambda slot: slot.shared(prompt))
        shared = best.shared(prompt)
        slot = best
        if best in taken:
            slot = min((s for s in self._slots if s not in taken), key=lambda s: s.used)
            llama_cpp.llama_memory_seq_rm(self._memory, slot.index, -1, -1)
            llama_cpp.llama_memory_seq_cp(self._memory, best.index, slot.index, -1, -1)
        llama_cpp.llama_memory_seq_rm(self._memory, slot.index, shared, -1)
        slot.tokens = prompt[:shared]
        slot.pending = prompt[shared:]
        slot.used = time.perf_counter()
        return slot

    def _step(self, running: list[Slot]) -> list[Slot]:
        """Compute one batch of what is pending; the slots that drew a token."""
        self._batch.n_tokens = 0
        drawing = []
        for slot in running:
            room = self._batch_tokens - self._batch.n_tokens
            chunk, slot.pending = slot.pending[:room], slot.pending[room:]
            self._add(slot, chunk)
            slot.tokens.extend(chunk)
            if chunk and not slot.pending:
                self._batch.logits[self._batch.n_tokens - 1] = 1
                drawing.append(slot)
        code = llama_cpp.llama_decode(self._context, self._batch)
        if code:
            raise RuntimeError(f"llama_decode failed with {code}")
        if drawing:
            for slot, token in zip(drawing, self._greedy(len(drawing)), strict=True):
                slot.pending.append(int(token))
        return drawing

    def _add(self, slot: Slot, chunk: list[int]) -> None:
        batch, row = self._batch, self._batch.n_tokens
        for position, token in enumerate(chunk, len(slot.tokens)):
            batch.token[row] = token
            batch.pos[row] = position
            batch.n_seq_id[row] = 1
            batch.seq_id[row][0] = slot.index
            batch.logits[row] = 0
            row += 1
        batch.n_tokens = row

    def _greedy(self, rows: int) -> np.ndarray:
        logits = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (rows, self._vocab_size)).argmax(1)


@llama_cpp.llama_log_callback
def _silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    """Swallows the log of loading."""


def _rounded_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


if __name__ == "__main__":
    serve(LlamaCpp)
