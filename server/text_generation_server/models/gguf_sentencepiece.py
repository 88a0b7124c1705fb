"""The SentencePiece kind of tokenizer in a GGUF file ("llama"), as models of `tokenizers`.

llama.cpp (llm_tokenizer_spm) joins the two neighbours whose joined text is the token of the highest
score until none is left, and spells characters that are no token in bytes. That is BPE whose merges
are all splits of all tokens into two, ranked by score; transformers derives them alike for the
models' own tokenizer.json (SentencePieceExtractor).
"""

from collections.abc import Sequence

from tokenizers import decoders, models, normalizers

SPACE = "▁"
"""Stands for a space inside tokens."""


def bpe(tokens: Sequence[str], scores: Sequence[float], unknown: str | None) -> models.BPE:
    """scores: of the tokens, the highest is joined first; unknown: the token of what is neither a
    token nor spelled in bytes. May raise what the library raises for a damaged vocabulary."""
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = _merges(vocab, scores)
    return models.BPE(
        vocab=vocab, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True
    )


def _merges(vocab: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Every split of a token into two others, that of the highest score first."""
    ranked = sorted(vocab, key=lambda token: -scores[vocab[token]])
    return [
        (token[:cut], token[cut:])
        for token in ranked
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]


def normalizer(adds_space_prefix: bool) -> normalizers.Normalizer:
    """What is done to text between special tokens. adds_space_prefix: begin each with a space."""
    replace = normalizers.Replace(" ", SPACE)
    if not adds_space_prefix:
        return replace
    return normalizers.Sequence([normalizers.Prepend(SPACE), replace])


def decoder(adds_space_prefix: bool) -> decoders.Decoder:
    """Takes back what `normalizer` does and joins bytes to characters."""
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if adds_space_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)
