"""`python -m quality`: perplexity of every form of a model against float32 of the same weights."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from text_generation_server.executor.native_executor import load_native_executor
from text_generation_server.executor.native_options import NativeOptions
from text_generation_server.executor.torch_executor import load_torch_executor
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.source import ModelSource, resolve

from quality.compare import agreement, change, perplexity
from quality.likelihood import Scorable, Scores, score
from quality.text import windows

REFERENCE = "torch float32"
CACHE = Path.home() / ".cache" / "text-generation-benches"


@dataclass(frozen=True)
class Scheme:
    """A way to run the model natively, and how far its perplexity may be above its base's."""

    name: str
    weights: str | None
    """None: as the source has them."""
    kv: str
    base: str
    limit: float | None
    """None: reported only."""


SCHEMES = [
    Scheme("bf16", "bf16", "bf16", REFERENCE, 0.002),
    Scheme("as shipped", None, "bf16", REFERENCE, 0.008),
    Scheme("as shipped, int8 KV", None, "int8", "as shipped", 0.003),
    Scheme("int8", "int8", "bf16", REFERENCE, 0.01),
    Scheme("int8, int8 KV", "int8", "int8", "int8", 0.003),
    Scheme("int4", "int4", "bf16", REFERENCE, None),
]


def main() -> int:
    """Score the text with every scheme; 1 when one is beyond its limit."""
    args = arguments()
    source = resolve(args.model_id, cache_dir=args.cache_dir)
    text = windows(source, args.windows, args.window_tokens)
    scored = {REFERENCE: score(load_torch_executor(source, "float32"), text)}
    print(f"{source.model_id}, {len(scored[REFERENCE].logprobs):,} tokens\n")
    print("| scheme | perplexity | against float32 | against | change | limit | same likeliest |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(f"| {REFERENCE} | {perplexity(scored[REFERENCE]):.3f} | | | | | |")
    missed = [scheme.name for scheme in SCHEMES if not holds(scheme, source, text, scored)]
    if missed:
        print(f"beyond its limit: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="quality", description=__doc__)
    parser.add_argument("--model-id", default=EMBEDDED_MODEL, help="as of the launcher")
    parser.add_argument("--cache-dir", type=Path, default=CACHE, help="as of the launcher")
    parser.add_argument("--windows", type=int, default=10, help="parts of the text to score")
    parser.add_argument("--window-tokens", type=int, default=2048, help="tokens of a part")
    return parser.parse_args()


def holds(
    scheme: Scheme, source: ModelSource, text: list[list[int]], scored: dict[str, Scores]
) -> bool:
    """Score the text with a scheme, print its line, keep the scores; whether it is in its limit."""
    scores = scored[scheme.name] = score(load(scheme, source), text)
    step = change(scores, scored[scheme.base])
    limit = "" if scheme.limit is None else f"{scheme.limit:.1%}"
    cells = [
        scheme.name,
        f"{perplexity(scores):.3f}",
        str(change(scores, scored[REFERENCE])),
        scheme.base,
        str(step),
        limit,
        f"{agreement(scores, scored[REFERENCE]):.1%}",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)
    return scheme.limit is None or step.share <= scheme.limit


def load(scheme: Scheme, source: ModelSource) -> Scorable:
    """The native executor as the scheme says."""
    return load_native_executor(source, NativeOptions(weights=scheme.weights, kv_dtype=scheme.kv))


if __name__ == "__main__":
    sys.exit(main())
