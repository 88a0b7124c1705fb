"""The configuration file that the launcher writes is the one that a shard reads."""

import dataclasses
import json
from pathlib import Path

import pytest
from text_generation_server.config import ServeConfig
from text_generation_server.errors import ConfigError

GOLDEN = Path(__file__).with_name("serve_config.json")


def test_every_field_arrives() -> None:
    config, written = ServeConfig.load(GOLDEN), json.loads(GOLDEN.read_text())
    for section in ("model", "engine", "grammar"):
        read = dataclasses.asdict(getattr(config, section))
        plain = {name: str(v) if isinstance(v, Path) else v for name, v in read.items()}
        assert plain == written[section]


def test_socket_of_rank_0_is_where_the_router_looks() -> None:
    address = json.loads(GOLDEN.read_text())["router"]["shard_address"]
    assert address == f"unix:{ServeConfig.load(GOLDEN).engine.socket_path(0)}"


@pytest.mark.parametrize("section", ["model", "engine", "grammar"])
@pytest.mark.parametrize("change", ["unknown", "missing"])
def test_a_file_of_another_version_is_refused(section: str, change: str, tmp_path: Path) -> None:
    values = json.loads(GOLDEN.read_text())
    if change == "unknown":
        values[section]["surprise"] = 1
        name = "surprise"
    else:
        name, _ = values[section].popitem()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=name):
        ServeConfig.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": {}}'])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        ServeConfig.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        ServeConfig.load(tmp_path / "config.json")
