"""`text-generation-server`: the command line of one shard rank."""

import argparse
import logging
import os
import sys
import threading
from pathlib import Path

from text_generation_server.config import ServeConfig
from text_generation_server.errors import ServeError

EXIT_LOAD_FAILED = 66
EXIT_ORPHANED = 71
SWITCH_INTERVAL = 0.0005
"""Seconds until a thread gives the interpreter up: no health answer waits for the engine."""


def main() -> int:
    """Entry point."""
    arguments = _parser().parse_args()
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    sys.setswitchinterval(SWITCH_INTERVAL)
    if arguments.exit_with_stdin:
        threading.Thread(target=_exit_with_stdin, name="death-pipe", daemon=True).start()
    return _serve(arguments.config, arguments.rank)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("text-generation-server", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve one rank of a model over gRPC")
    serve.add_argument("--config", type=Path, required=True, help="JSON file of the launcher")
    serve.add_argument("--rank", type=int, default=0, help="rank of this process, from 0")
    serve.add_argument(
        "--exit-with-stdin",
        action="store_true",
        help="end when standard input is closed: the starting process is gone",
    )
    return parser


def _serve(config_path: Path, rank: int) -> int:
    # Imported here: bad arguments shall not wait for the libraries.
    from text_generation_server.models.errors import ModelError
    from text_generation_server.shard import serve

    try:
        return serve(ServeConfig.load(config_path), rank)
    except (ServeError, ModelError) as error:
        logging.getLogger(__name__).error("%s", error)
        return EXIT_LOAD_FAILED


def _exit_with_stdin() -> None:
    """End the process at once, whatever the other threads do."""
    # Not through sys.stdin: the interpreter cannot end while a thread holds its lock.
    while os.read(0, 4096):
        pass
    os._exit(EXIT_ORPHANED)
