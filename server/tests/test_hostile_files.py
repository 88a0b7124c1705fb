"""Truncated, lying and hostile model files: each loads as what it says, or raises ModelError.

Files are small, so whatever is allocated for more than they hold shows as memory.
"""

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.safetensors_file import read_tensors

MAX_MEMORY = 8 << 20
"""Bytes that reading one of these files of a few kilobytes may take at most."""

TOKENS = ["a", "bc", "", "déf", "x" * 40]
LIES = [3, 1 << 32, (1 << 64) - 1]


def gguf_content(folder: Path) -> bytes:
    path = folder / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 1e4)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.5, -1.0, 2.0, 0.0, 1.0])
    writer.add_tensor("norm", np.arange(7, dtype=np.float32))
    writer.add_tensor("matrix", np.arange(24, dtype=np.float16).reshape(4, 6))
    blocks = np.arange(2 * 36, dtype=np.uint8).reshape(2, 36)
    writer.add_tensor("blocks", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def safetensors_content(folder: Path) -> bytes:
    path = folder / "model.safetensors"
    tensors = {"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 3), np.float16)}
    save_file(tensors, path, metadata={"format": "pt"})
    return path.read_bytes()


def read_gguf(path: Path) -> Any:
    """Everything the file says, decoded."""
    file = GgufFile(path)
    values = {key: file.get(key) for key in file._values}
    lists = {k: list(v) if hasattr(v, "__len__") else v for k, v in values.items()}
    tensors = [file.tensor(name) for name in file.tensor_names]
    return lists, [(t.name, t.type, t.shape, t.data.tobytes()) for t in tensors]


def read_safetensors(path: Path) -> Any:
    tensors = read_tensors(path.parent).values()
    return [(t.name, t.dtype, t.shape, t.data.tobytes()) for t in tensors]


Reader = Callable[[Path], Any]


FORMATS = [
    pytest.param(gguf_content, read_gguf, id="gguf"),
    pytest.param(safetensors_content, read_safetensors, id="safetensors"),
]
formats = pytest.mark.parametrize(("make", "read"), FORMATS)


def outcome(path: Path, content: bytes, read: Reader) -> Any:
    """What is read of a content, or "refused". Fails for any other error and for much memory."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        return read(path)
    except ModelError:
        return "refused"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_MEMORY, f"{peak} bytes were allocated"


@formats
def test_a_truncated_file_is_refused_wherever_it_ends(
    tmp_path: Path, make: Callable[[Path], bytes], read: Reader
) -> None:
    content = make(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = outcome(path, content, read)
    assert whole != "refused"
    for length in range(len(content)):
        found = outcome(path, content[:length], read)
        # Only padding may be missing.
        assert found == "refused" or (found == whole and not any(content[length:])), length


@formats
def test_lying_numbers_are_refused_or_harmless(
    tmp_path: Path, make: Callable[[Path], bytes], read: Reader
) -> None:
    content = make(tmp_path)
    path = tmp_path / "model.safetensors"
    refused = 0
    for position in range(0, len(content) - 8):
        for number in LIES:
            lie = content[:position] + struct.pack("<Q", number) + content[position + 8 :]
            refused += outcome(path, lie, read) == "refused"
    assert refused > len(content)


@formats
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_flipped_bits_are_refused_or_harmless(
    tmp_path: Path, make: Callable[[Path], bytes], read: Reader, data: st.DataObject
) -> None:
    content = bytearray(make(tmp_path))
    bits = st.integers(0, 8 * len(content) - 1)
    for bit in data.draw(st.lists(bits, min_size=1, max_size=6)):
        content[bit // 8] ^= 1 << bit % 8
    cut = data.draw(st.integers(len(content) // 2, len(content)))
    outcome(tmp_path / "model.safetensors", bytes(content[:cut]), read)


# GGUF


def text(content: str) -> bytes:
    return struct.pack("<Q", len(content.encode())) + content.encode()


def small_gguf(
    values: bytes = b"",
    num_values: int = 0,
    tensors: bytes = b"",
    num_tensors: int = 0,
    start: bytes = b"GGUF\3\0\0\0",
) -> bytes:
    """A file with these metadata values and tensor descriptions, then 256 bytes of data."""
    header = start + struct.pack("<QQ", num_tensors, num_values) + values + tensors
    return header + bytes(-len(header) % 32) + bytes(256)


def tensor(name: str, *sizes: int, kind: int = 0, offset: int = 0) -> bytes:
    numbers = struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)
    return text(name) + numbers


UINT32 = struct.pack("<I", 4)
ARRAY = struct.pack("<I", 9)
STRING = struct.pack("<I", 8)


def test_a_file_of_these_parts_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    value = text("general.alignment") + UINT32 + struct.pack("<I", 64)
    tensors = tensor("a", 8, 2) + tensor("b", 3, offset=64)
    path.write_bytes(small_gguf(value, 1, tensors, 2))
    file = GgufFile(path)
    assert file.tensor("a").shape == (2, 8)
    assert file.tensor("b").data.shape == (1, 12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (small_gguf(start=b"GGML\3\0\0\0"), "does not begin with GGUF"),
        (small_gguf(start=b"GGUF\1\0\0\0"), "version is 0x1, only"),
        (small_gguf(start=b"GGUF\0\0\0\3"), r"version is 0x3000000, only 2 and 3 \(little endian"),
        (small_gguf(num_values=1 << 40), "cannot hold 1099511627776 entries"),
        (small_gguf(num_tensors=1 << 63), "cannot hold"),
        (small_gguf(struct.pack("<Q", 1 << 62), 1), "name has 4611686018427387904 bytes"),
        (small_gguf(text("k") + struct.pack("<I", 13), 1), "13 is not a valid"),
        (small_gguf(text("k") + ARRAY + ARRAY, 1), "array holds arrays"),
        (small_gguf(text("k") + ARRAY + UINT32 + struct.pack("<Q", 1 << 61), 1), "cannot hold"),
        (small_gguf(text("k") + ARRAY + STRING + struct.pack("<QQ", 1, 1 << 63), 1), "it ends"),
        (small_gguf((text("k") + UINT32 + bytes(4)) * 2, 2), "key k is there twice"),
        (small_gguf(struct.pack("<QB", 1, 255), 1), "can't decode byte 0xff"),
        (small_gguf(text("general.alignment") + UINT32 + bytes(4), 1), "power of 2"),
        (small_gguf(text("general.alignment") + STRING + text("x"), 1), "power of 2"),
        (small_gguf(tensors=tensor("a", 4) * 2, num_tensors=2), "tensor a is there twice"),
        (small_gguf(tensors=tensor("a"), num_tensors=1), "a has 0 dimensions"),
        (small_gguf(tensors=tensor("a", 1, 1, 1, 1, 1), num_tensors=1), "a has 5 dimensions"),
        (small_gguf(tensors=tensor("a", 1 << 32, 1 << 32), num_tensors=1), "ends beyond the file"),
        (small_gguf(tensors=tensor("a", *[(1 << 64) - 1] * 4), num_tensors=1), "ends beyond"),
        (small_gguf(tensors=tensor("a", 0, 4), num_tensors=1), "a has 0 bytes"),
        (small_gguf(tensors=tensor("a", 65), num_tensors=1), "ends beyond the file"),
        (small_gguf(tensors=tensor("a", 4, offset=32), num_tensors=1), "from 32 on, expected 0"),
        (small_gguf(tensors=tensor("a", 4) + tensor("b", 4), num_tensors=2), "expected 32"),
        (small_gguf(tensors=tensor("a", 48, kind=2), num_tensors=1), "48 values are no multiple"),
        (small_gguf(tensors=tensor("a", 256, kind=10), num_tensors=1), "has the ggml type 10"),
    ],
)  # fmt: skip
def test_files_that_break_a_rule_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        GgufFile(path)


def test_a_string_that_is_no_utf8_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(small_gguf(text("k") + ARRAY + STRING + struct.pack("<QQB", 1, 1, 255), 1))
    strings = GgufFile(path).get("k")
    assert len(strings) == 1
    with pytest.raises(ModelError, match="string of a GGUF's array is damaged"):
        strings[0]


# Safetensors


def small_safetensors(header: str, size: int = 16) -> bytes:
    return struct.pack("<Q", len(header.encode())) + header.encode() + bytes(size)


def entry(dtype: str = "F32", shape: Any = (4,), start: int = 0, end: int = 16) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(end=12)},
        {"a": entry(shape=(5,))},
        {"a": entry(shape=(3,), end=12)},
        {"a": entry(shape=(5,), end=20)},
        {"a": entry(shape=(3,), start=4)},
        {"a": entry(shape=(2,), end=8), "b": entry(shape=(2,), end=8)},
        {"a": entry(shape=(2,), end=8), "b": entry(shape=(3,), start=4)},
        {"a": entry(start=-16)},
        {"a": entry(shape=(-4,))},
        {"a": entry(start=16, end=0)},
        {"a": entry(shape=(1 << 62, 1 << 62))},
        {"a": entry(shape=(1 << 64,))},
        {"a": entry(dtype="F31")},
        {"a": entry(shape="x")},
        {"a": {"dtype": "F32"}},
        {},
        [],
    ],
)
def test_lying_headers_are_refused(tmp_path: Path, header: Any) -> None:
    path = tmp_path / "model.safetensors"
    assert outcome(path, small_safetensors(json.dumps(header)), read_safetensors) == "refused"


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 1 << 63) + b"{}",
        struct.pack("<Q", 90_000_000) + b"{}",
        small_safetensors("[" * 2000, 0),
        small_safetensors('{"a":' * 2000, 0),
        small_safetensors('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}', 16),
    ],
)
def test_hostile_headers_are_refused(tmp_path: Path, content: bytes) -> None:
    assert outcome(tmp_path / "model.safetensors", content, read_safetensors) == "refused"


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    weight_map = {}
    for name in ("one", "two"):
        save_file({"a": np.ones(3, np.float32)}, tmp_path / f"{name}.safetensors")
        weight_map[name] = f"{name}.safetensors"
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match="the tensor a is in two files"):
        read_tensors(tmp_path)
