"""A shard that no launcher started: `serve MODEL`, with the folder in which it is found.

The configuration's rules and defaults are the launcher's, so it is asked for them.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from text_generation_server.errors import ConfigError

CONFIG_FILE = "config.json"
_LAUNCHER = "text-generation-launcher"
_SECRETS = ("api_key", "api_keys")
"""What the launcher shows, without its value, beside the configuration."""


def write_config(run_dir: Path, launcher_flags: Sequence[str]) -> Path:
    """The configuration for these flags of the launcher, in a folder for this user's eyes only,
    which is held as long as this process lives. Gives the file's path.

    Raises ConfigError for a folder that belongs to others or to a running shard, and for flags that
    the launcher refuses, which says why on stderr.
    """
    run_dir = run_dir.absolute()
    try:
        _hold(run_dir)
        sections = _resolved(launcher_flags)
        if sections["engine"]["num_shard"] != 1:
            raise ConfigError("only one rank is started: serve several by text-generation-launcher")
        socket = run_dir / "shard-0.sock"
        sections["engine"]["run_dir"] = str(run_dir)
        sections["router"]["shard_address"] = f"unix:{socket}"
        socket.unlink(missing_ok=True)  # of a shard that was killed
        path = run_dir / CONFIG_FILE
        path.write_text(json.dumps(sections, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot serve in the folder {run_dir}: {error.strerror}") from error
    return path


def _hold(run_dir: Path) -> None:
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = run_dir.lstat()
    if state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise ConfigError(
            f"the folder {run_dir} is open to other users: name another one by --uds-path, or "
            "chmod 700 it"
        )
    # Never closed: the lock goes with the process.
    folder = os.open(run_dir, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"another shard serves in the folder {run_dir}: name another one by --uds-path"
        ) from error


def _resolved(launcher_flags: Sequence[str]) -> dict[str, Any]:
    """The sections of a `ServeConfig`."""
    beside = Path(sys.argv[0]).with_name(_LAUNCHER)
    launcher = str(beside) if beside.is_file() else shutil.which(_LAUNCHER)
    if launcher is None:
        raise ConfigError(f"{_LAUNCHER} is not installed, which knows the defaults: install it too")
    command = [launcher, "--print-config", "--json-output", *launcher_flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise ConfigError(f"{_LAUNCHER} refuses the flags: mend what it says above")
    sections: dict[str, Any] = json.loads(done.stdout)
    for secret in _SECRETS:
        sections["router"].pop(secret, None)
    return _values(sections)


def _values(shown: dict[str, Any]) -> dict[str, Any]:
    """What `--print-config` shows, without where each value came from."""
    return {
        name: entry["value"] if entry.keys() == {"source", "value"} else _values(entry)
        for name, entry in shown.items()
    }
