"""The wire contract from the shard's side: see README.md beside this file."""

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from text_generation_server.pb import engine_pb2 as pb
from wire_messages import FOLDER, MESSAGES


@pytest.mark.parametrize("name", MESSAGES)
def test_the_shard_writes_what_its_files_hold(name: str) -> None:
    written = MESSAGES[name].SerializeToString(deterministic=True)
    assert written == (FOLDER / "python" / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", MESSAGES)
def test_the_shard_reads_what_the_router_wrote(name: str) -> None:
    # `hello` and `info` carry the protocol's version, which is so compared as well.
    message = MESSAGES[name]
    assert type(message).FromString((FOLDER / "rust" / f"{name}.bin").read_bytes()) == message


def test_every_field_of_the_contract_is_in_some_message() -> None:
    used = set[str]()
    for message in MESSAGES.values():
        collect_fields(message, used)
    empty = {"InfoRequest", "AssetsRequest"}
    types = (t for name, t in pb.DESCRIPTOR.message_types_by_name.items() if name not in empty)
    assert used == {field.full_name for t in types for field in t.fields}


def collect_fields(message: Message, used: set[str]) -> None:
    """Add the full names of the fields that are set, at any depth."""
    for field, value in message.ListFields():
        used.add(field.full_name)
        if isinstance(field.message_type, Descriptor):
            for part in value if field.is_repeated else [value]:
                collect_fields(part, used)
