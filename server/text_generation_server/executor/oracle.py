"""The exact integer model of the tests: real paging and sampling, no weights.

A KV cell holds what was written: domain, token, position and epoch. The next token is a keyed hash
of all cells of the sequence, read through its page table. So any wrong, stale, foreign or unwritten
cell changes the output, and the right output is a pure function of the tokens (`digest_of`), known
without running anything.

Drawn tokens are words that survive a round trip through text, so that a conversation over HTTP
re-tokenizes to the ids that were drawn.
"""

import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from text_generation_server._native import PagePool, Sampler
from text_generation_server.executor.sampling import draw
from text_generation_server.executor.step import (
    ExecutorFacts,
    Float32Array,
    Int32Array,
    StepPlan,
    StepResult,
    Uint32Array,
    Uint64Array,
)
from text_generation_server.executor.ticket import CompletedTicket

CONTEXT_LENGTH = 262_144
DEFAULT_PAGE_TOKENS = 32
DEFAULT_KV_TOKENS = 4_194_304
CELL_BYTES = 24  # domain, token << 32 | position, epoch: three u64
NUM_CANDIDATES = 8
NUM_WORDS = 2048

# Odd multipliers of SplitMix64 and its relatives (Steele, Lea, Flood 2014): any would do.
_KEY_DOMAIN = np.uint64(0x9E3779B97F4A7C15)
_KEY_TOKEN = np.uint64(0xBF58476D1CE4E5B9)
_KEY_EPOCH = np.uint64(0x94D049BB133111EB)
_KEY_INDEX = np.uint64(0xD6E8FEB86659FD93)
_KEY_FINAL = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)


def digest(cells: npt.NDArray[np.uint64]) -> int:
    """Hash of cells [n, 3], each mixed with the place n at which it was read."""
    place = np.arange(1, len(cells) + 1, dtype=np.uint64) * _KEY_INDEX
    mixed = cells[:, 0] * _KEY_DOMAIN + cells[:, 1] * _KEY_TOKEN + cells[:, 2] * _KEY_EPOCH
    mixed = (mixed ^ (mixed >> _HALF) ^ place) * _KEY_FINAL
    mixed ^= mixed >> _HALF
    return int((mixed * _KEY_DOMAIN).sum(dtype=np.uint64))


def make_cells(
    tokens: Uint32Array, domains: Uint64Array, positions: npt.NDArray[np.uint64], epoch: int
) -> npt.NDArray[np.uint64]:
    """[n, 3] the cells of tokens at positions."""
    cells = np.empty((len(tokens), 3), dtype=np.uint64)
    cells[:, 0] = domains
    cells[:, 1] = tokens.astype(np.uint64) << _HALF | positions
    cells[:, 2] = epoch
    return cells


def digest_of(tokens: Uint32Array, domains: Uint64Array, epoch: int) -> int:
    """What `digest` gives for a sequence whose cells are all right."""
    positions = np.arange(len(tokens), dtype=np.uint64)
    return digest(make_cells(tokens, domains, positions, epoch))


def candidates(value: int, words: Int32Array) -> tuple[Int32Array, Float32Array]:
    """Tokens that may follow a digest, the most likely first, and their logits."""
    mixed = (np.uint64(value) + np.arange(NUM_CANDIDATES, dtype=np.uint64)) * _KEY_FINAL
    mixed = (mixed ^ (mixed >> _HALF)) * _KEY_TOKEN
    ids = words[((mixed >> _HALF) % np.uint64(len(words))).astype(np.int64)]
    return ids, np.linspace(4.0, 0.5, NUM_CANDIDATES, dtype=np.float32)


class OracleExecutor:
    """Implements `Executor` on integers."""

    def __init__(
        self,
        words: Int32Array,
        vocab_size: int,
        *,
        page_tokens: int | None = None,
        epoch: int = 1,
        fingerprint: str = "",
    ) -> None:
        """words: ids to draw from; epoch: what cells of this executor carry; fingerprint: of the
        tokenizer that the words belong to."""
        page_tokens = page_tokens or DEFAULT_PAGE_TOKENS
        self.facts = ExecutorFacts(
            name="oracle",
            device="cpu",
            hardware="1 thread",
            weights="int",
            kv_dtype="int",
            fingerprint=f"oracle-{fingerprint}-{epoch}",
            vocab_size=vocab_size,
            context_length=CONTEXT_LENGTH,
            page_tokens=page_tokens,
            page_bytes=page_tokens * CELL_BYTES,
            reads_domains=True,
            default_kv_tokens=DEFAULT_KV_TOKENS,
        )
        self._words = words
        self._epoch = epoch

    def bind(self, pool: PagePool, num_slots: int) -> None:
        """See `Executor.bind`."""
        cells = np.frombuffer(memoryview(pool), dtype=np.uint64)
        self._cells = cells.reshape(pool.num_pages, self.facts.page_tokens, 3)
        self._sampler = Sampler(self.facts.vocab_size, num_slots)

    def submit(self, plan: StepPlan) -> CompletedTicket:
        """Run the step at once."""
        for source, destination in plan.copies:
            self._cells[destination] = self._cells[source]
        tables = [plan.pages[start:stop] for start, stop in pairwise(plan.page_starts.tolist())]
        for sequence, (start, stop) in enumerate(pairwise(plan.query_starts.tolist())):
            context = int(plan.context_lengths[sequence])
            self._write(plan, slice(start, stop), context, tables[sequence])
        return CompletedTicket(self._draw(plan, tables))

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, plan: StepPlan, rows: slice, context: int, table: Int32Array) -> None:
        tokens = plan.tokens[rows]
        positions = np.arange(context, context + len(tokens), dtype=np.uint64)
        page, cell = np.divmod(positions.astype(np.int64), self.facts.page_tokens)
        values = make_cells(tokens, plan.domains[rows], positions, self._epoch)
        self._cells[table[page], cell] = values

    def _draw(self, plan: StepPlan, tables: list[Int32Array]) -> StepResult:
        rows = plan.sample_rows
        sequences = np.searchsorted(plan.query_starts, rows, side="right") - 1
        lengths = rows - plan.query_starts[sequences] + plan.context_lengths[sequences] + 1
        logits = np.full((len(rows), self.facts.vocab_size), -30.0, dtype=np.float32)
        for row, (sequence, length) in enumerate(
            zip(sequences.tolist(), lengths.tolist(), strict=True)
        ):
            ids, values = candidates(self._read(tables[sequence], length), self._words)
            # Backwards, so that of two equal candidates the likelier one stands.
            logits[row, ids[::-1]] = values[::-1]
        return draw(self._sampler, plan, logits, lengths)

    def _read(self, table: Int32Array, length: int) -> int:
        pages = table[: -(-length // self.facts.page_tokens)]
        return digest(self._cells[pages].reshape(-1, 3)[:length])


def round_trip_words(tokenizer: Tokenizer) -> Int32Array:
    """Ids of up to NUM_WORDS words whose text, one after the other, is tokenized to the same ids.
    Raises ValueError when the tokenizer has too few."""
    words = [
        token_id
        for token_id, text in _word_texts(tokenizer)
        if tokenizer.encode(text, add_special_tokens=False).ids == [token_id]
    ][:NUM_WORDS]
    text = tokenizer.decode(words)
    if len(words) < 2 or tokenizer.encode(text, add_special_tokens=False).ids != words:
        raise ValueError(
            f"the tokenizer has {len(words)} words that survive a round trip through text;"
            " the oracle needs a byte-level BPE tokenizer"
        )
    return np.array(words, dtype=np.int32)


def _word_texts(tokenizer: Tokenizer) -> list[tuple[int, str]]:
    is_word: Callable[[str], object] = re.compile(r"^ [a-z]{2,}$").match
    ids = range(tokenizer.get_vocab_size())
    texts = tokenizer.decode_batch([[token_id] for token_id in ids])
    return [(token_id, text) for token_id, text in zip(ids, texts, strict=True) if is_word(text)]
