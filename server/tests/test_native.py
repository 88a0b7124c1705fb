"""The border of `_native`: what crosses it and what is refused. Rust tests what the classes do."""

import array
import gc
import os
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from text_generation_server import _native
from text_generation_server._native import PageCache, PagePool, Sampler, SamplingParams

VOCAB_SIZE = 8


def u32(*items: int) -> np.ndarray:
    return np.array(items, np.uint32)


def spans(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, np.uint64).ravel()


def make_cache(num_pages: int = 8, page_tokens: int = 4) -> PageCache:
    return PageCache(PagePool(num_pages, 64), page_tokens)


def make_sampler(num_slots: int = 2) -> Sampler:
    sampler = Sampler(VOCAB_SIZE, num_slots)
    sampler.open(0, SamplingParams(), u32(), u32())
    return sampler


def logits_of(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(len(rows), VOCAB_SIZE)


def int32(*items: int) -> np.ndarray:
    return np.array(items, np.int32)


def test_the_module_says_its_version_and_what_there_is_of_memory_and_cores() -> None:
    assert _native.__version__
    assert _native.available_memory_bytes() > 1 << 20
    assert 1 <= _native.available_cpus() <= len(os.sched_getaffinity(0))


class TestPagePool:
    def test_every_view_is_the_same_memory(self) -> None:
        pool = PagePool(4, 256)
        view = np.frombuffer(pool, np.uint8)
        tensor = torch.frombuffer(pool, dtype=torch.float32).view(4, 64)
        assert (pool.num_pages, pool.page_bytes) == (4, 256)
        assert view.nbytes == 1024 and not view.any()
        view[256:260] = np.frombuffer(np.float32(1.5).tobytes(), np.uint8)
        assert tensor[1, 0] == 1.5
        tensor[3, 63] = -2.0
        assert np.frombuffer(memoryview(pool), np.float32)[-1] == -2.0

    def test_the_memory_outlives_the_pool_while_a_view_does(self) -> None:
        pool = PagePool(2, 1 << 20)
        view = np.frombuffer(pool, np.uint8)
        view[:] = 7
        del pool
        gc.collect()
        assert view.sum() == 7 * (2 << 20)

    @pytest.mark.parametrize("size", [(0, 1), (1, 0), (-1, 1), (1, -1), (1 << 31, 1), (1 << 70, 1)])
    def test_impossible_sizes_are_refused(self, size: tuple[int, int]) -> None:
        with pytest.raises(ValueError):
            PagePool(*size)

    def test_more_than_the_address_space_is_a_memory_error(self) -> None:
        with pytest.raises(MemoryError, match="1073741824 pages"):
            PagePool(1 << 30, 1 << 32)


class TestPageCache:
    def test_a_follow_up_is_cached(self) -> None:
        cache = make_cache()
        first = cache.open(u32(1, 2, 3, 4, 5), spans((0, 5)), 4)
        assert (cache.cached_tokens(first), cache.num_pages(first)) == (0, 0)
        assert cache.reserve(first, 5) == []
        cache.commit(first, u32(1, 2, 3, 4, 5), spans((0, 5)))
        assert cache.committed_tokens(first) == 5
        cache.close(first)
        second = cache.open(u32(1, 2, 3, 4, 5, 6), spans((0, 6)), 5)
        assert cache.cached_tokens(second) == 5
        shared = np.frombuffer(cache.pages(second), np.int32).copy()
        [(source, destination)] = cache.reserve(second, 6) or []
        table = np.frombuffer(cache.pages(second), np.int32)
        assert table.tolist() == [shared[0], destination] and source == shared[1]
        cache.check()

    def test_counts_add_up(self) -> None:
        cache = make_cache()
        sequence = cache.open(u32(1, 2, 3), spans((0, 3)), 2)
        cache.reserve(sequence, 20)
        counts = cache.counts()
        assert (counts.total, counts.free, counts.cached, counts.referenced) == (8, 3, 0, 5)
        assert cache.reserve(sequence, 33) is None
        assert cache.reserve(sequence, 2**63) is None
        cache.close(sequence)
        assert cache.counts().free == 8 and cache.evictions() == 0

    @pytest.mark.parametrize(
        "convert",
        [
            lambda a: a,
            lambda a: a.tobytes(),
            lambda a: memoryview(a),
            lambda a: memoryview(a.tobytes()),
            lambda a: bytearray(a.tobytes()),
            lambda a: array.array("I" if a.itemsize == 4 else "Q", a.tolist()),
            lambda a: a.astype(a.dtype.newbyteorder("<")),
        ],
    )
    def test_arrays_come_as_any_buffer(self, convert: Callable[[np.ndarray], object]) -> None:
        cache = make_cache()
        tokens, domains = convert(u32(1, 2, 3)), convert(spans((5, 1), (2**64 - 1, 2)))
        sequence = cache.open(tokens, domains, 3)  # type: ignore[arg-type]
        cache.reserve(sequence, 3)
        cache.commit(sequence, tokens, domains)  # type: ignore[arg-type]
        assert cache.cached_tokens(cache.open(tokens, domains, 3)) == 3  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("tokens", "domains"),
        [
            (u32(1, 2), spans((0, 1))),
            (u32(1, 2), spans((0, 3))),
            (u32(1, 2), spans((0, 2), (0, 0))),
            (u32(1, 2), spans((0, 1), (0, 2**64 - 1), (0, 2))),
            (u32(1, 2), np.array([0, 2, 0], np.uint64)),
            (u32(1, 2), spans()),
            (u32(), spans((0, 1))),
            (np.array([1, 2], np.int64), spans((0, 2))),
            (np.array([1, 2], np.int32), spans((0, 2))),
            (np.array([1, 2], np.float32), spans((0, 2))),
            (np.array([1, 2], ">u4"), spans((0, 2))),
            (u32(1, 2, 3, 4)[::2], spans((0, 2))),
            (b"12345", spans((0, 1))),
            ([1, 2], spans((0, 2))),
            (None, spans((0, 2))),
            (u32(1, 2), [0, 2]),
            (u32(1, 2), np.array([0, 2], np.int64)),
            (u32(1, 2), u32(0, 2)),
        ],
    )
    def test_wrong_arrays_are_refused(self, tokens: object, domains: object) -> None:
        cache = make_cache()
        sequence = cache.open(u32(), spans(), 0)
        cache.reserve(sequence, 4)
        with pytest.raises(ValueError):
            cache.open(tokens, domains, 0)  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            cache.commit(sequence, tokens, domains)  # type: ignore[arg-type]
        assert cache.committed_tokens(sequence) == 0
        cache.check()

    @pytest.mark.parametrize("handle", [-1, 12345, 2**63, 2**64, 2**100])
    def test_unknown_sequences_are_refused(self, handle: int) -> None:
        cache = make_cache()
        calls: list[Callable[[], object]] = [
            lambda: cache.rematch(handle),
            lambda: cache.cached_tokens(handle),
            lambda: cache.committed_tokens(handle),
            lambda: cache.node(handle),
            lambda: cache.reserve(handle, 1),
            lambda: cache.commit(handle, u32(), spans()),
            lambda: cache.pages(handle),
            lambda: cache.num_pages(handle),
            lambda: cache.close(handle),
        ]
        for call in calls:
            with pytest.raises((IndexError, ValueError)):
                call()

    def test_calls_out_of_order_are_refused(self) -> None:
        cache = make_cache()
        sequence = cache.open(u32(1, 2), spans((0, 2)), 1)
        with pytest.raises(ValueError, match="reserved"):
            cache.commit(sequence, u32(1), spans((0, 1)))
        cache.reserve(sequence, 1)
        with pytest.raises(ValueError, match="matched again"):
            cache.rematch(sequence)
        cache.close(sequence)
        with pytest.raises(IndexError, match="is not open"):
            cache.close(sequence)

    @pytest.mark.parametrize("page_tokens", [0, -1, 2**64])
    def test_pages_need_tokens(self, page_tokens: int) -> None:
        with pytest.raises(ValueError):
            PageCache(PagePool(1, 1), page_tokens)

    def test_negative_lengths_are_refused(self) -> None:
        cache = make_cache()
        with pytest.raises(ValueError):
            cache.open(u32(1), spans((0, 1)), -1)
        sequence = cache.open(u32(1), spans((0, 1)), 1)
        with pytest.raises(ValueError):
            cache.reserve(sequence, -1)

    def test_a_cache_that_is_off_tells_no_sequences_apart(self) -> None:
        cache = PageCache(PagePool(8, 64), 4, enabled=False)
        first, second = (cache.open(u32(1, 2), spans((0, 2)), 1) for _ in range(2))
        assert cache.node(first) != cache.node(second)
        cache.reserve(first, 2)
        cache.commit(first, u32(1, 2), spans((0, 2)))
        cache.close(first)
        assert cache.rematch(second) == 0 and cache.counts().cached == 0


class TestSamplingParams:
    def test_fields_read_back(self) -> None:
        params = SamplingParams(temperature=0.5, top_k=3, seed=2**64 - 1, top_n=2)
        assert (params.temperature, params.top_k, params.top_n) == (0.5, 3, 2)
        assert params.seed == 2**64 - 1
        assert (params.top_p, params.typical_p, params.repetition_penalty) == (1.0, 1.0, 1.0)
        assert (params.frequency_penalty, params.presence_penalty) == (0.0, 0.0)
        assert params.logit_bias == []
        biases = [(2**32 - 1, -100.0), (0, 0.5)]
        assert SamplingParams(logit_bias=biases).logit_bias == biases

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("temperature", -0.1),
            ("temperature", float("nan")),
            ("temperature", float("inf")),
            ("top_p", 0.0),
            ("top_p", 1.5),
            ("typical_p", 0.0),
            ("repetition_penalty", 0.0),
            ("frequency_penalty", 3.0),
            ("presence_penalty", -3.0),
            ("top_k", -1),
            ("top_k", 2**32),
            ("seed", -1),
            ("seed", 2**64),
            ("top_n", -1),
            ("logit_bias", [(0, float("nan"))]),
            ("logit_bias", [(0, float("inf"))]),
        ],
    )
    def test_values_out_of_range_are_refused_by_name(self, field: str, value: object) -> None:
        with pytest.raises(ValueError, match=field):
            SamplingParams(**{field: value})  # type: ignore[arg-type]


class TestSampler:
    def test_draws_and_reports(self) -> None:
        sampler = Sampler(VOCAB_SIZE, 2)
        sampler.open(1, SamplingParams(top_n=2), u32(), u32())
        sampler.open(0, SamplingParams(), u32(), u32())
        logits = logits_of([0, 1, 2, 9, 2, 0, 0, 0], [5, 5, 0, 0, 0, 0, 0, 0])
        samples = sampler.sample(logits, int32(0, 1), int32(10, 20))
        assert np.frombuffer(samples.token_ids, np.int32).tolist() == [3, 0]
        expected = torch.log_softmax(torch.from_numpy(logits), -1)
        logprobs = np.frombuffer(samples.logprobs, np.float32)
        assert logprobs == pytest.approx([expected[0, 3].item(), expected[1, 0].item()], abs=1e-5)
        assert np.frombuffer(samples.top_starts, np.int32).tolist() == [0, 0, 2]
        assert np.frombuffer(samples.top_ids, np.int32).tolist() == [0, 1]
        top_logprobs = np.frombuffer(samples.top_logprobs, np.float32)
        assert top_logprobs == pytest.approx(expected[1, :2].numpy(), abs=1e-5)

    def test_biases_and_masks_bound_what_is_drawn(self) -> None:
        sampler = Sampler(VOCAB_SIZE, 2)
        sampler.open(0, SamplingParams(logit_bias=[(3, -100.0)]), u32(), u32())
        sampler.open(1, SamplingParams(), u32(), u32())
        logits = logits_of([0, 1, 2, 9, 8, 0, 0, 0], [5, 9, 7, 0, 0, 0, 0, 0])
        slots, positions = int32(0, 1), int32(10, 20)
        samples = sampler.sample(logits, slots, positions, int32(1), u32(0b1000_0101))
        assert samples.token_ids.tolist() == [4, 2]
        samples = sampler.sample(logits, slots, positions, int32(1, 0), u32(1, 0b10))
        assert samples.token_ids.tolist() == [1, 0]

    @pytest.mark.parametrize(
        ("mask_rows", "masks", "message"),
        [
            (int32(0), None, "masks have 0 words, expected 1 masks of 1"),
            (None, u32(1), "masks have 1 words, expected 0 masks"),
            (int32(0), u32(1, 1), "masks have 2 words"),
            (int32(1), u32(1), "mask_rows has 1, expected 0 to 1 - 1"),
            (int32(-1), u32(1), "mask_rows has -1"),
            (int32(0, 0), u32(1, 1), "row 0 has two masks"),
            (int32(0), u32(0), "no finite logit of an allowed token"),
            (int32(0), int32(0), "masks has items of format"),
        ],
    )
    def test_wrong_masks_are_refused(
        self, mask_rows: np.ndarray | None, masks: np.ndarray | None, message: str
    ) -> None:
        logits = logits_of([0.0] * 8)
        with pytest.raises((ValueError, IndexError), match=message):
            make_sampler().sample(logits, int32(0), int32(0), mask_rows, masks)

    def test_views_can_be_empty(self) -> None:
        samples = make_sampler().sample(logits_of(), int32(), int32())
        assert samples.token_ids.nbytes == 0 and samples.token_ids.format == "i"
        assert samples.top_starts.tolist() == [0]
        assert np.frombuffer(samples.top_ids, np.int32).size == 0

    def test_read_only_logits_are_read_in_place(self) -> None:
        logits = logits_of([0, 0, 0, 0, 0, 0, 0, 1])
        logits.flags.writeable = False
        samples = make_sampler().sample(logits, int32(0), int32(0))
        assert samples.token_ids.tolist() == [7]

    @pytest.mark.parametrize(
        ("logits", "slots", "positions", "message"),
        [
            (logits_of([0.0] * 8, [0.0] * 8), int32(0), int32(0), "logits"),
            (logits_of([0.0] * 8), int32(0, 0), int32(0, 0), "logits"),
            (logits_of([0.0] * 8), int32(0), int32(), "positions"),
            (logits_of([0.0] * 8), int32(1), int32(0), "not open"),
            (logits_of([0.0] * 8), int32(-1), int32(0), "slot"),
            (logits_of([0.0] * 8), int32(0), int32(-1), "position"),
            (logits_of([0.0] * 8, [0.0] * 8), int32(0, 0), int32(0, 1), "slot 0"),
            (logits_of([float("nan")] * 8), int32(0), int32(0), "finite"),
            (logits_of([0.0] * 8).astype(np.float64), int32(0), int32(0), "logits"),
            (logits_of([0.0] * 8, [0.0] * 8)[::2, :], int32(0), int32(0), None),
            (np.zeros((8, 2), np.float32)[:, 0], int32(0), int32(0), "logits"),
            (logits_of([0.0] * 8), np.array([0], np.int64), int32(0), "slots"),
        ],
    )
    def test_wrong_rows_are_refused(
        self, logits: np.ndarray, slots: np.ndarray, positions: np.ndarray, message: str | None
    ) -> None:
        sampler = make_sampler()
        if message is None:  # one row of a larger array is contiguous all the same
            sampler.sample(logits, slots, positions)
            return
        with pytest.raises(ValueError, match=message):
            sampler.sample(logits, slots, positions)

    def test_slots_and_tokens_out_of_range_are_refused(self) -> None:
        sampler = make_sampler()
        for slot in (-1, 2, 2**64):
            with pytest.raises((IndexError, ValueError)):
                sampler.open(slot, SamplingParams(), u32(), u32())
            with pytest.raises((IndexError, ValueError)):
                sampler.close(slot)
        with pytest.raises(ValueError, match="vocabulary of 8"):
            sampler.open(0, SamplingParams(), u32(8), u32())
        with pytest.raises(ValueError, match="token id 8 is not below the vocabulary of 8"):
            sampler.open(0, SamplingParams(logit_bias=[(8, 1.0)]), u32(), u32())
        with pytest.raises(ValueError, match="token id is -1"):
            SamplingParams(logit_bias=[(-1, 1.0)])
        with pytest.raises(ValueError, match="is not open"):
            sampler.close(1)
        with pytest.raises(ValueError):
            Sampler(0, 1)

    def test_a_second_thread_is_refused_while_one_samples(self) -> None:
        vocab_size, rows = 100_000, 64
        sampler = Sampler(vocab_size, rows)
        for slot in range(rows):
            sampler.open(slot, SamplingParams(temperature=1.0, top_p=0.9), u32(), u32())
        logits = np.random.default_rng(0).normal(size=(rows, vocab_size)).astype(np.float32)
        slots = np.arange(rows, dtype=np.int32)
        refused, tries = 0, 0
        # More than one try: on a busy machine one may be over before this thread goes on.
        while refused == 0 and tries < 50:
            worker = threading.Thread(target=sampler.sample, args=(logits, slots, slots))
            worker.start()
            while worker.is_alive():  # possible only because the interpreter is released
                try:
                    sampler.open(0, SamplingParams(), u32(), u32())
                except RuntimeError:
                    refused += 1
            worker.join()
            tries += 1
        assert refused > 0
