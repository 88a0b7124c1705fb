"""`text-generation-server`: the command line of a shard rank, and what prepares models for it."""

import argparse
import json
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
        level=arguments.logger_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Imported here: bad arguments shall not wait for the libraries.
    from text_generation_server.models.errors import ModelError

    try:
        return int(arguments.run(arguments))
    except (ServeError, ModelError) as error:
        logging.getLogger(__name__).error("%s", error)
        return EXIT_LOAD_FAILED


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
    serve.set_defaults(run=_serve)
    download = commands.add_parser(
        "download-weights", help="download a model from the Hugging Face Hub and print its folder"
    )
    download.add_argument("model_id", help="id on the hub, owner/name")
    download.add_argument("--revision", help="commit, branch or tag; the main branch by default")
    download.add_argument(
        "--extension", choices=[".safetensors"], default=".safetensors", help="files of weights"
    )
    download.add_argument(
        "--huggingface-hub-cache",
        type=Path,
        metavar="PATH",
        help="folder for downloads, instead of the hub library's own",
    )
    download.add_argument("--json-output", action="store_true", help="print one JSON object")
    download.set_defaults(run=_download_weights)
    for command in (serve, download):
        command.add_argument(
            "--logger-level",
            type=str.upper,
            choices=["DEBUG", "INFO", "WARNING", "ERROR"],
            default="INFO",
            help="least level that is logged",
        )
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    sys.setswitchinterval(SWITCH_INTERVAL)
    if arguments.exit_with_stdin:
        threading.Thread(target=_exit_with_stdin, name="death-pipe", daemon=True).start()
    from text_generation_server.shard import serve

    return serve(ServeConfig.load(arguments.config), arguments.rank)


def _download_weights(arguments: argparse.Namespace) -> int:
    from text_generation_server.models.source import resolve

    source = resolve(
        arguments.model_id, arguments.revision, arguments.huggingface_hub_cache, cache_dir=None
    )
    if arguments.json_output:
        fields = {
            "model_id": source.model_id,
            "revision": source.revision,
            "path": str(source.path),
        }
        print(json.dumps(fields))
    else:
        print(source.path)
    return 0


def _exit_with_stdin() -> None:
    """End the process at once, whatever the other threads do."""
    # Not through sys.stdin: the interpreter cannot end while a thread holds its lock.
    while os.read(0, 4096):
        pass
    os._exit(EXIT_ORPHANED)
