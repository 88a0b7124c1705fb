"""Who may import whom (see ARCHITECTURE.md), and that light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "text_generation_server"
ROOT = Path(__file__).parents[1] / PACKAGE

EXTRAS = ["torch", "transformers", "gguf", "safetensors"]
"""What a plain installation lacks."""

FORBIDDEN = {
    "engine": [
        "pb",
        "translation",
        "service",
        "shard",
        "cli",
        "asyncio",
        "grpc",
        "torch",
        "models",
    ],
    "executor": ["pb", "translation", "service", "shard", "cli", "engine", "grpc", "asyncio"],
    "models": ["pb", "translation", "service", "shard", "cli", "engine", "grpc", "asyncio"],
    "translation.py": ["service", "shard", "cli", "torch"],
    "service.py": ["shard", "cli", "torch", "executor", "asyncio"],
    "config.py": ["engine", "executor", "models", "pb", "service", "torch"],
}


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_follow_the_arrows(part: str) -> None:
    path = ROOT / part
    for file in [path] if path.is_file() else path.rglob("*.py"):
        for name in imported_modules(file):
            inner = name.removeprefix(f"{PACKAGE}.")
            for banned in FORBIDDEN[part]:
                assert inner != banned and not inner.startswith(f"{banned}."), f"{file}: {name}"


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        "shard",
        "engine.loop",
        "service",
        "executor.native_executor",
        "executor.oracle",
        "models.assets",
        "models.digest",
        "models.weights",
    ],
)
def test_light_modules_need_nothing_of_the_extras(module: str) -> None:
    code = (
        f"import sys, {PACKAGE}.{module};print([name for name in {EXTRAS} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
