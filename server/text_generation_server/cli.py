"""`text-generation-server`: the command line of a shard rank, and what prepares models for it."""

import argparse
import importlib.metadata
import json
import logging
import os
import platform
import sys
import threading
from pathlib import Path

from text_generation_server.config import ServeConfig
from text_generation_server.errors import ServeError
from text_generation_server.logs import configure_logging

EXIT_LOAD_FAILED = 66
EXIT_ORPHANED = 71
_PACKAGES = (
    "text-generation-server",
    "grpcio",
    "huggingface-hub",
    "llguidance",
    "numpy",
    "protobuf",
    "tokenizers",
    "torch",
    "transformers",
)
"""What decides how a shard behaves beside its own code."""
SWITCH_INTERVAL = 0.0005
"""Seconds until a thread gives the interpreter up: no health answer waits for the engine."""


def main() -> int:
    """Entry point."""
    arguments = _parser().parse_args()
    rank = getattr(arguments, "rank", 0)
    configure_logging(arguments.logger_level, rank if arguments.json_logs else None)
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
    serve.add_argument(
        "--json-output", dest="json_logs", action="store_true", help="one JSON object a log line"
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
    plan = commands.add_parser(
        "plan", help="print what would be served, from the headers of its files, as one JSON object"
    )
    plan.add_argument("--config", type=Path, required=True, help="JSON file of the launcher")
    plan.set_defaults(run=_plan)
    environment = commands.add_parser(
        "environment", help="print Python and the installed packages, as one JSON object"
    )
    environment.set_defaults(run=_environment)
    for command in (serve, download, plan, environment):
        command.add_argument(
            "--logger-level",
            type=str.upper,
            choices=["DEBUG", "INFO", "WARNING", "ERROR"],
            default="INFO",
            help="least level that is logged",
        )
        command.set_defaults(json_logs=False)
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


def _plan(arguments: argparse.Namespace) -> int:
    from text_generation_server.shard import plan

    print(json.dumps(plan(ServeConfig.load(arguments.config))))
    return 0


def _environment(arguments: argparse.Namespace) -> int:
    packages = {name: _version(name) for name in _PACKAGES}
    print(json.dumps({"python": platform.python_version(), "packages": packages}))
    return 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _exit_with_stdin() -> None:
    """End the process at once, whatever the other threads do."""
    # Not through sys.stdin: the interpreter cannot end while a thread holds its lock.
    while os.read(0, 4096):
        pass
    os._exit(EXIT_ORPHANED)
