"""Models come from a hub: whole, once, and on from where a connection broke."""

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_hub import COMMIT, MODEL_ID, FakeHub
from running_server import LAUNCHER, PATIENCE_SECONDS, Start, wait_until

SERVER = LAUNCHER.with_name("text-generation-server")
WEIGHTS = "model.safetensors"


@contextmanager
def download(hub_url: str, cache: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """A running `download-weights`."""
    process = subprocess.Popen(
        [SERVER, "download-weights", MODEL_ID, "--huggingface-hub-cache", str(cache), *flags],
        env={"HF_ENDPOINT": hub_url, "HF_HOME": str(cache / "home"), "HF_HUB_DISABLE_XET": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def downloaded(hub_url: str, cache: Path) -> Path:
    """The folder of a download that ends well."""
    with download(hub_url, cache, "--json-output") as process:
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, stderr
    answer = json.loads(stdout)
    assert (answer["model_id"], answer["revision"]) == (MODEL_ID, COMMIT)
    return Path(answer["path"])


def assert_same(folder: Path, original: Path) -> None:
    """Every file arrived as it was."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS):
        assert (folder / name).read_bytes() == (original / name).read_bytes(), name


def test_a_broken_connection_goes_on_where_it_broke(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "large")
    # More than the library hands on at once.
    size = 24 << 20
    (folder / WEIGHTS).write_bytes(random.Random(1).randbytes(size))
    with FakeHub(folder, break_once=WEIGHTS) as hub:
        assert_same(downloaded(hub.url, tmp_path / "cache"), folder)
    first, second = (span for name, span in hub.gets if name == WEIGHTS)
    assert first is None and second is not None
    start = int(second.removeprefix("bytes=").split("-")[0])
    assert 0 < start <= size // 2


def test_a_killed_download_keeps_the_files_it_had(tiny_model: Path, tmp_path: Path) -> None:
    """And downloads anew the one it was in: the hub's library gives each process a file of its own.
    If this fails, the library goes on within files: README.md says that it does not."""

    def kept() -> list[Path]:
        return list(tmp_path.glob("models--*/snapshots/*/*.json"))

    with FakeHub(tiny_model, stall=WEIGHTS) as hub:
        with download(hub.url, tmp_path) as process:
            assert hub.halfway.wait(PATIENCE_SECONDS)
            small = len(list(tiny_model.glob("*.json")))
            wait_until(lambda: len(kept()) == small, "all other files are kept")
            process.kill()
            process.wait()
        asked_before = len(hub.gets)
        hub.stall = None
        assert_same(downloaded(hub.url, tmp_path), tiny_model)
        again = [name for name, _ in hub.gets[asked_before:]]
        assert [span for name, span in hub.gets[asked_before:] if name == WEIGHTS] == [None]
        assert len(again) + small <= asked_before + 1
        downloaded(hub.url, tmp_path)
        assert len(hub.gets) == asked_before + len(again), "a whole model was downloaded again"


def test_without_a_hub_it_says_so(tmp_path: Path) -> None:
    with download("http://127.0.0.1:1", tmp_path) as process:
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 66
    assert MODEL_ID in stderr and "cannot be reached" in stderr
    assert "Traceback" not in stderr


def test_an_unknown_model_is_named(tiny_model: Path, tmp_path: Path) -> None:
    with FakeHub(tiny_model) as hub:
        result = subprocess.run(
            [SERVER, "download-weights", "owner/other", "--huggingface-hub-cache", str(tmp_path)],
            env={"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    assert result.returncode == 66
    assert "owner/other" in result.stderr and "Traceback" not in result.stderr


def test_the_launcher_downloads_what_it_serves(
    tiny_model: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHub(tiny_model) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        flags = ("--executor", "native", "--huggingface-hub-cache", str(tmp_path / "hub"))
        with start("--model-id", MODEL_ID, *flags) as server:
            info = server.http.get("/info").json()
        assert (info["model_id"], info["model_sha"]) == (MODEL_ID, COMMIT)
        assert WEIGHTS in [name for name, _ in hub.gets]
