"""Deterministic prose, and what two texts share."""

import random

WORDS = (
    "about after again always animal answer around away because before began below between book"
    " boy came children city close country cut day different door down earth enough every example"
    " family father feet find first follow food found girl give great group hand hard head help"
    " high home house idea keep kind land large last learn left letter life light line list little"
    " live long made make many mean might mile more mother mountain move music name near never"
    " night number often once open other page paper part people place plant point quick read right"
    " river run saw school sea second sentence side small song soon sound state still stop story"
    " study talk thought three time together took tree turn under until walk watch water went white"
    " word work world write year young"
).split()


def prose(seed: int, num_words: int) -> str:
    """Words that differ from seed to seed from the start."""
    return " ".join(random.Random(seed).choices(WORDS, k=num_words))


def common_prefix(a: list[int], b: list[int]) -> int:
    """Number of tokens with which both begin."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
