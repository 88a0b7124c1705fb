"""Spans, per-token domains and the pairs of any range agree with the naive expansion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_generation_server.engine.domains import DomainSpans

spans_strategy = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=5)


@given(spans_strategy, st.integers(0, 40), st.integers(0, 40))
def test_ranges_agree_with_the_naive_expansion(
    spans: list[tuple[int, int]], start: int, length: int
) -> None:
    naive = [domain for domain, count in spans for _ in range(count)]
    naive += [spans[-1][0]] * 100
    domains = DomainSpans(spans)
    stop = start + length
    assert domains.per_token(start, stop).tolist() == naive[start:stop]
    pairs = domains.pairs(start, stop).reshape(-1, 2).tolist()
    assert [domain for domain, count in pairs for _ in range(count)] == naive[start:stop]
    assert all(count > 0 for _, count in pairs)


@pytest.mark.parametrize("spans", [[], [(1, 0)], [(0, 3), (1, -1)]])
def test_refuses_empty_spans(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="non-empty"):
        DomainSpans(spans)


def test_pairs_are_packed_for_the_page_cache() -> None:
    pairs = DomainSpans([(5, 4), (2**63, 4)]).pairs(2, 8)
    assert pairs.dtype == np.uint64
    assert pairs.tolist() == [5, 2, 2**63, 4]
