"""Breaks the rules of attention one at a time and shows that the tests notice each.

Generic mutations (cargo-mutants) know operators, not rules: most of what they change in vector
code is equivalent or does not compile. So these are written by hand, each a rule that exactness
rests on.

Works on a copy of the workspace in target/mutations, with builds of its own that are kept.
"""

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "target" / "mutations"
COPY = WORK / "workspace"
TESTS = ("attention::", "decoder::tests::")
"""The quick ones first; the others run when those have not noticed."""
TEST_SECONDS = 900


@dataclass(frozen=True)
class Mutation:
    """A rule and how to break it."""

    rule: str
    file: str
    """In server/kernels/src."""
    old: str
    new: str
    needs: str | None = None
    """A flag of /proc/cpuinfo without which the code does not run."""


TILES = "amx_tile"

MUTATIONS = (
    Mutation(
        "a token does not see the one behind it",
        "attention/plan.rs",
        "(position + 1).saturating_sub(window)..position + 1",
        "(position + 1).saturating_sub(window)..position + 2",
    ),
    Mutation(
        "a token sees itself",
        "attention/plan.rs",
        "(position + 1).saturating_sub(window)..position + 1",
        "(position + 1).saturating_sub(window)..position.max(1)",
    ),
    Mutation(
        "a window is not one longer",
        "attention/plan.rs",
        "(position + 1).saturating_sub(window)..position + 1",
        "position.saturating_sub(window)..position + 1",
    ),
    Mutation(
        "a window is not one shorter",
        "attention/plan.rs",
        "(position + 1).saturating_sub(window)..position + 1",
        "(position + 2).saturating_sub(window).min(position)..position + 1",
    ),
    Mutation(
        "keys before the window are masked",
        "attention/softmax.rs",
        "(below(self.end) & !below(self.start)) as u16",
        "below(self.end) as u16",
    ),
    Mutation(
        "the tail of a page is masked",
        "attention/softmax.rs",
        "(below(self.end) & !below(self.start)) as u16",
        "!below(self.start) as u16",
    ),
    Mutation(
        "masked keys have no part in the largest score",
        "attention/softmax.rs",
        "score = S::select(mask(vector), score, S::splat(f32::NEG_INFINITY));",
        "",
    ),
    Mutation(
        "masked keys have no part in the sum of weights",
        "attention/softmax.rs",
        "weight = S::select(mask(vector), weight, S::splat(0.0));",
        "",
    ),
    Mutation(
        "a block begins at a multiple of 256",
        "attention/softmax.rs",
        "key.clamp(index * BLOCK, (index + 1) * BLOCK) - index * BLOCK",
        "key.clamp(index * BLOCK + 1, (index + 1) * BLOCK) - index * BLOCK",
    ),
    Mutation(
        "a block ends at a multiple of 256",
        "attention/softmax.rs",
        "key.clamp(index * BLOCK, (index + 1) * BLOCK) - index * BLOCK",
        "key.clamp(index * BLOCK, (index + 1) * BLOCK - 1) - index * BLOCK",
    ),
    Mutation(
        "values behind the last token are not read",
        "attention/block.rs",
        "let to = end.min((page + 1) * per_page) - page * per_page;",
        "let to = per_page; let _ = end;",
    ),
    Mutation(
        "tiles read no values behind the last token",
        "attention/bf16.rs",
        "if pairs != (0..ROWS) {",
        "if false {",
        TILES,
    ),
    Mutation(
        "what tiles read of a page has weights",
        "attention/block.rs",
        "if S::TILES {",
        "if false {",
        TILES,
    ),
    Mutation(
        "tiles round bfloat16 whatever the rows",
        "attention/bf16.rs",
        "const TILE_ROWS: usize = 1;",
        "const TILE_ROWS: usize = 4;",
        TILES,
    ),
    Mutation(
        "a sum is rescaled when the largest score grows",
        "attention/fold.rs",
        "let kept = S::mul(S::load(state.add(at)), a);",
        "let kept = S::load(state.add(at)); let _ = a;",
    ),
    Mutation(
        "a block's partial is rescaled to the largest score",
        "attention/fold.rs",
        "S::fma(S::load(next.add(at)), b, kept)",
        "S::add(S::load(next.add(at)), kept)",
    ),
    Mutation(
        "the largest score is kept",
        "attention/fold.rs",
        "S::store(state, m);",
        "",
    ),
    Mutation(
        "stored partials are folded in block order",
        "attention/cut.rs",
        "for slot in 0..chain.num_slots()",
        "for slot in (0..chain.num_slots()).rev()",
    ),
    Mutation(
        "blocks that a row does not see are not folded",
        "attention/cut.rs",
        "if blocks.start >= seen.end || blocks.end <= seen.start {",
        "if blocks.is_empty() && seen.is_empty() {",
    ),
    Mutation(
        "a row of a cut chain goes to its own head",
        "attention/cut.rs",
        "head: chain.kv_head * plan.group() + row % plan.group(),",
        "head: row % plan.group(),",
    ),
    Mutation(
        "a row begins with the first block that it sees",
        "attention/attend.rs",
        "if row.step > 0 || index == row.first_key / BLOCK {",
        "if row.step > 0 || index == first_index {",
    ),
    Mutation(
        "each block has a stored partial of its own",
        "attention/attend.rs",
        "1 + blocks.start - chain.first_end",
        "blocks.start - chain.first_end",
    ),
    Mutation(
        "rows that share pages keep their own partials",
        "attention/plan/share.rs",
        "chain: self.member.chain + kv_head,",
        "chain: self.member.chain + kv_head % 1,",
    ),
    Mutation(
        "only blocks with equal pages are read together",
        "attention/plan/share.rs",
        ".take_while(|(a, b)| a == b)",
        "",
    ),
    Mutation(
        "a shared block is left out of a sequence's own",
        "attention/plan/share.rs",
        "self.add_tile(&[sharer.member(kv_head)], at, from * BLOCK..end);",
        "self.add_tile(&[sharer.member(kv_head)], at, from.saturating_sub(1) * BLOCK..end);",
    ),
    Mutation(
        "the page that a hit ends in is copied",
        "decoder/forward.rs",
        "if self.plan.copies.is_empty() {",
        "if self.plan.copies.len() < usize::MAX {",
    ),
    Mutation(
        "positions go on from the context",
        "decoder/plan.rs",
        "(s.context..s.context + s.num_rows)",
        "(0..s.num_rows)",
    ),
)


def copy_workspace() -> None:
    """Bring the copy up to date; files that are equal keep their time, so that builds are kept."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        source, target = ROOT / name, COPY / name
        if target.exists() and target.read_bytes() == source.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    sources = "server/kernels/src"
    for path in [*(COPY / sources).rglob("*.rs")]:
        if str(path.relative_to(COPY)) not in names:
            path.unlink()


def cargo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the kernels' tests in the copy."""
    settings = [
        "--locked",
        "--target-dir",
        str(WORK / "target"),
        "--config",
        "build.incremental=true",
    ]
    return subprocess.run(
        ["cargo", "test", *settings, "--package", "kernels", "--lib", *arguments],
        cwd=COPY,
        capture_output=True,
        text=True,
        timeout=TEST_SECONDS,
    )


def failed_tests() -> list[str]:
    """Names of the tests that fail in the copy. Raises RuntimeError when it does not compile."""
    built = cargo("--no-run")
    if built.returncode != 0:
        raise RuntimeError(built.stderr)
    for tests in TESTS:
        done = cargo("--", tests)
        lines = (line.split() for line in done.stdout.splitlines())
        if failed := [w[1] for w in lines if w[:1] == ["test"] and w[-1:] == ["FAILED"]]:
            return failed
        if done.returncode != 0:  # the test program itself died
            return [f"{tests} ({done.returncode})"]
    return []


def tests_that_notice(mutation: Mutation) -> list[str]:
    """Break the rule, run the tests, mend it. Raises ValueError when the code has changed."""
    path = COPY / "server" / "kernels" / "src" / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file} does not have once: {mutation.old}")
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        return failed_tests()
    finally:
        path.write_text(text)


def main() -> int:
    """Report rule by rule; 1 when some mutation went unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", metavar="TEXT", help="rules that have this text")
    only = parser.parse_args().only
    copy_workspace()
    if failed := failed_tests():
        print(f"without any mutation these fail: {', '.join(failed)}")
        return 1
    unnoticed = 0
    chosen = [mutation for mutation in MUTATIONS if only in mutation.rule]
    flags = Path("/proc/cpuinfo").read_text().split()
    if absent := [m for m in chosen if m.needs not in (None, *flags)]:
        print(f"this processor runs no code of {len(absent)} mutations, which are left out")
    chosen = [mutation for mutation in chosen if mutation not in absent]
    for mutation in chosen:
        started = time.monotonic()
        failed = tests_that_notice(mutation)
        unnoticed += not failed
        said = f"{len(failed)} tests, {failed[0]}" if failed else "NOBODY"
        seconds = time.monotonic() - started
        print(f"{mutation.rule}: noticed by {said} ({seconds:.0f} s)", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} mutations were noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
