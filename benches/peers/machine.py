"""The machine: what it is, and how fast it reads memory."""

import json
import platform
import subprocess
from pathlib import Path

import psutil


def description(threads: int) -> str:
    """Processor, cores, memory and the number of threads measured with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = psutil.virtual_memory().total / 2**30
    name = next(names, platform.machine())
    return f"{name}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {threads} threads"


def memory_speed(bench: str, threads: int) -> float:
    """Gigabytes a second that so many threads read together, the best of three."""
    command = [bench, "memory", "--threads", str(threads), "--repeats", "3"]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return float(report["points"][0]["gigabytes_per_second"]["max"])
