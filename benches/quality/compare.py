"""Compares two scorings of one text."""

import math
from dataclasses import dataclass

import numpy as np

from quality.likelihood import Scores


@dataclass(frozen=True)
class Change:
    """How much higher one perplexity is than another, as a share, with its standard error."""

    share: float
    error: float

    def __str__(self) -> str:
        return f"{self.share:+.2%} ± {self.error:.2%}"


def perplexity(scores: Scores) -> float:
    """exp of the mean negative log probability."""
    return math.exp(-float(scores.logprobs.mean(dtype=np.float64)))


def change(scores: Scores, base: Scores) -> Change:
    """Of the perplexity from `base` to `scores`. The error is that of the mean of the tokens'
    differences: paired, as both scored the same tokens."""
    differences = (base.logprobs - scores.logprobs).astype(np.float64)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return Change(math.expm1(mean), math.exp(mean) * error)


def agreement(scores: Scores, base: Scores) -> float:
    """Share of the places where both hold the same token most likely."""
    return float((scores.likeliest == base.likeliest).mean())
