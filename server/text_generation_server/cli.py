"""`text-generation-server`: the command line of a shard rank, and what prepares models for it."""

import argparse
import importlib.metadata
import json
import logging
import os
import platform
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from text_generation_server.config import ServeConfig
from text_generation_server.errors import ServeError
from text_generation_server.logs import configure_logging

if TYPE_CHECKING:
    from text_generation_server.models.source import ModelSource

    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_LOAD_FAILED = 66
EXIT_ORPHANED = 71
EXIT_INTERRUPTED = 128 + signal.SIGINT
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
UDS_PATH = Path("/tmp/text-generation-server")
"""TGI's place of a shard's socket; here it is a folder."""
_LAUNCHER_VALUES = (
    "revision",
    "quantize",
    "dtype",
    "kv-cache-dtype",
    "speculate",
    "max-input-tokens",
    "max-total-tokens",
    "huggingface-hub-cache",
    "otlp-endpoint",
    "otlp-service-name",
)
"""Flags of `serve` that the launcher judges: TGI's, and those that shards need most."""
_LAUNCHER_SWITCHES = ("sharded", "trust-remote-code")
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
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("text-generation-server", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_serve, _add_download, _add_quantize, _add_plan, _add_environment):
        command = add(commands)
        command.add_argument(
            "--logger-level",
            type=str.upper,
            choices=["DEBUG", "INFO", "WARNING", "ERROR"],
            default="INFO",
            help="least level that is logged",
        )
        command.set_defaults(json_logs=False)
    return parser


def _add_serve(commands: "_Commands") -> argparse.ArgumentParser:
    serve = commands.add_parser(
        "serve",
        help="serve one rank of a model over gRPC",
        description="Serve one rank of a model over gRPC: that of a launcher's configuration, or, "
        "given a model, one that stands alone. text-generation-router --config PATH/config.json "
        "then serves it over HTTP (PATH is that of --uds-path); text-generation-launcher starts "
        "both.",
    )
    what = serve.add_mutually_exclusive_group(required=True)
    what.add_argument("model_id", nargs="?", help="as --model-id of the launcher")
    what.add_argument("--config", type=Path, help="JSON file of the launcher")
    serve.add_argument("--rank", type=int, default=0, help="rank of this process, from 0")
    serve.add_argument(
        "--exit-with-stdin",
        action="store_true",
        help="end when standard input is closed: the starting process is gone",
    )
    serve.add_argument(
        "--json-output", dest="json_logs", action="store_true", help="one JSON object a log line"
    )
    serve.add_argument(
        "--uds-path",
        type=Path,
        default=UDS_PATH,
        metavar="PATH",
        help="folder of the socket and the configuration, of a model that stands alone "
        "(%(default)s)",
    )
    launcher = serve.add_argument_group(
        "flags of the launcher, whose help explains them, for a model that stands alone"
    )
    for name in _LAUNCHER_VALUES:
        launcher.add_argument(f"--{name}", metavar="X")
    for name in _LAUNCHER_SWITCHES:
        launcher.add_argument(f"--{name}", action=argparse.BooleanOptionalAction)
    serve.set_defaults(run=_serve)
    return serve


def _add_download(commands: "_Commands") -> argparse.ArgumentParser:
    download = commands.add_parser(
        "download-weights", help="download a model from the Hugging Face Hub and print its folder"
    )
    download.add_argument("model_id", help="id on the hub, owner/name")
    download.add_argument(
        "--extension", choices=[".safetensors"], default=".safetensors", help="files of weights"
    )
    _add_hub_flags(download)
    download.set_defaults(run=_download_weights)
    return download


def _add_quantize(commands: "_Commands") -> argparse.ArgumentParser:
    quantize = commands.add_parser(
        "quantize",
        help="write a model with quantized weights, and print its folder",
        description="Write a folder that is served as the model is with its weights quantized at "
        "load, to the bit, but is smaller and starts sooner. Its matrices have an encoding of this "
        "server's that no other one reads: no format of others holds them without loss. TGI's own "
        "quantize makes GPTQ, which is read here but not made.",
    )
    quantize.add_argument("model_id", help="folder of safetensors, or id on the hub, owner/name")
    quantize.add_argument("output_dir", type=Path, help="folder to write; it must not exist yet")
    quantize.add_argument(
        "--quantize",
        choices=["int8", "int4"],
        default="int4",
        help="as --quantize of the launcher (%(default)s)",
    )
    _add_hub_flags(quantize)
    quantize.set_defaults(run=_quantize)
    return quantize


def _add_plan(commands: "_Commands") -> argparse.ArgumentParser:
    plan = commands.add_parser(
        "plan", help="print what would be served, from the headers of its files, as one JSON object"
    )
    plan.add_argument("--config", type=Path, required=True, help="JSON file of the launcher")
    plan.set_defaults(run=_plan)
    return plan


def _add_environment(commands: "_Commands") -> argparse.ArgumentParser:
    environment = commands.add_parser(
        "environment", help="print Python and the installed packages, as one JSON object"
    )
    environment.set_defaults(run=_environment)
    return environment


def _add_hub_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--revision", help="commit, branch or tag; the main branch by default")
    command.add_argument(
        "--huggingface-hub-cache",
        type=Path,
        metavar="PATH",
        help="folder for downloads, instead of the hub library's own",
    )
    command.add_argument("--json-output", action="store_true", help="print one JSON object")
    command.add_argument(
        "--trust-remote-code",
        action=argparse.BooleanOptionalAction,
        help="TGI's, without effect: no code of a model is ever run",
    )


def _serve(arguments: argparse.Namespace) -> int:
    sys.setswitchinterval(SWITCH_INTERVAL)
    if arguments.exit_with_stdin:
        threading.Thread(target=_exit_with_stdin, name="death-pipe", daemon=True).start()
    from text_generation_server.shard import serve

    return serve(
        ServeConfig.load(arguments.config or _standalone_config(arguments)), arguments.rank
    )


def _standalone_config(arguments: argparse.Namespace) -> Path:
    from text_generation_server.standalone import write_config

    flags = [f"--model-id={arguments.model_id}"]
    for name in (*_LAUNCHER_VALUES, *_LAUNCHER_SWITCHES):
        value = getattr(arguments, name.replace("-", "_"))
        if value is not None:
            flags.append(f"--{name}={str(value).lower() if isinstance(value, bool) else value}")
    path = write_config(arguments.uds_path, flags)
    logging.getLogger(__name__).info("for HTTP: text-generation-router --config %s", path)
    return path


def _download_weights(arguments: argparse.Namespace) -> int:
    source = _source(arguments)
    _print_folder(arguments, source, source.path)
    return 0


def _quantize(arguments: argparse.Namespace) -> int:
    from text_generation_server.executor.native_executor import plan_native_executor
    from text_generation_server.executor.native_options import NativeOptions
    from text_generation_server.models.quantize import quantize_model

    # As an exception: what is written so far is removed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    source = _source(arguments)
    # What cannot be served is not worth the time.
    plan_native_executor(source, NativeOptions(weights=arguments.quantize))
    quantize_model(source, arguments.output_dir, arguments.quantize)
    _print_folder(arguments, source, arguments.output_dir)
    return 0


def _source(arguments: argparse.Namespace) -> "ModelSource":
    from text_generation_server.models.source import resolve

    return resolve(
        arguments.model_id, arguments.revision, arguments.huggingface_hub_cache, cache_dir=None
    )


def _print_folder(arguments: argparse.Namespace, source: "ModelSource", folder: Path) -> None:
    if arguments.json_output:
        model = {"model_id": source.model_id, "revision": source.revision}
        print(json.dumps(model | {"path": str(folder)}))
    else:
        print(folder)


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
