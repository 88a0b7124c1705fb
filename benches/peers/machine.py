"""The machine: what it is, and what it can do at most."""

import json
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Limits:
    """Billions a second, of all threads together."""

    memory: float
    """Bytes read."""
    bf16: float
    """Multiplications and additions of bfloat16 dot products."""
    int8: float
    """Multiplications and additions of 8-bit dot products."""


def description(threads: int) -> str:
    """Processor, cores, memory and the number of threads measured with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = psutil.virtual_memory().total / 2**30
    name = next(names, platform.machine())
    return f"{name}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {threads} threads"


def limits(bench: str, threads: int) -> Limits:
    """Measured now, the best of three."""
    command = [bench, "limits", "--threads", str(threads), "--repeats", "3"]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    (point,) = report["points"]
    return Limits(
        memory=point["memory_gigabytes_per_second"]["max"],
        bf16=point["bf16_gigaops_per_second"]["max"],
        int8=point["int8_gigaops_per_second"]["max"],
    )
