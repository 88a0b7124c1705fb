"""Which executor is taken, with what options, and what is said when none can be."""

import dataclasses
import json
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from text_generation_server.config import EngineConfig, GrammarConfig, ModelConfig, ServeConfig
from text_generation_server.errors import ConfigError
from text_generation_server.executor import choice
from text_generation_server.executor.native_options import NativeOptions
from text_generation_server.models.assets import Assets, load_assets
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.errors import ModelError, UnsupportedModelError
from text_generation_server.models.source import ModelSource, resolve

PACKAGE = "text_generation_server.executor"
MODEL = ModelConfig(
    model_id="model",
    revision=None,
    executor="auto",
    dtype="auto",
    quantize=None,
    kv_cache_dtype="auto",
    tokenizer_config_path=None,
    hub_cache=None,
    cache_dir=None,
)
GRAMMAR = GrammarConfig(True, 1, 1, 1, 1, 1, 1, 1)
ENGINE = EngineConfig(
    run_dir=Path("/run"),
    num_shard=1,
    master_addr="localhost",
    master_port=29500,
    max_input_tokens=None,
    max_total_tokens=None,
    max_batch_size=8,
    max_batch_prefill_tokens=64,
    max_batch_total_tokens=None,
    kv_memory_bytes=None,
    prefix_caching=True,
    page_tokens=None,
    num_threads=None,
)
NO_ASSETS = Assets(b"", None, (), "", "")
SOURCE = ModelSource("model", "", Path("/nowhere"))


class Loaders:
    """Stands in for the two modules that plan executors and keeps what they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.native: list[NativeOptions] = []
        self.torch: list[tuple[Any, ...]] = []
        self.native_error: Exception | None = None
        self._put("native_executor", plan_native_executor=self._plan_native)
        self._put("torch_executor", plan_torch_executor=self._plan_torch)

    def remove_torch(self) -> None:
        """As on a machine where the extra is not installed."""
        self._monkeypatch.setitem(sys.modules, "torch", None)

    def _put(self, name: str, **members: Any) -> None:
        module = ModuleType(f"{PACKAGE}.{name}")
        vars(module).update(members)
        self._monkeypatch.setitem(sys.modules, module.__name__, module)

    def _plan_native(self, source: ModelSource, options: NativeOptions) -> str:
        self.native.append(options)
        if self.native_error is not None:
            raise self.native_error
        return "native"

    def _plan_torch(self, source: ModelSource, *options: Any) -> str:
        self.torch.append(options)
        return "torch"


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> Loaders:
    return Loaders(monkeypatch)


def load(source: ModelSource = SOURCE, **changes: Any) -> Any:
    engine = {name: changes.pop(name) for name in list(changes) if hasattr(ENGINE, name)}
    config = ServeConfig(
        dataclasses.replace(MODEL, **changes), dataclasses.replace(ENGINE, **engine), GRAMMAR
    )
    return choice.plan_executor(config, source, NO_ASSETS)


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({}, "native", "fastest on a CPU"),
        ({"executor": "native"}, "native", "asked for"),
        ({"dtype": "bfloat16"}, "native", "fastest on a CPU"),
        ({"executor": "torch"}, "torch", "asked for"),
        ({"dtype": "float32"}, "torch", "only torch computes in the dtype float32"),
        ({"dtype": "float16"}, "torch", "only torch computes in the dtype float16"),
    ],
)
def test_one_line_says_which_executor_and_why(
    changes: dict[str, str],
    name: str,
    reason: str,
    loaders: Loaders,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    assert load(**changes) == name
    (line,) = caplog.messages
    assert line.startswith(f"the {name} executor runs the model: ") and reason in line


def test_the_oracle_loads_neither_of_the_others(
    loaders: Loaders, caplog: pytest.LogCaptureFixture
) -> None:
    loaders.remove_torch()
    caplog.set_level(logging.INFO)
    assets: Assets = load_assets(resolve(EMBEDDED_MODEL), None)
    config = ServeConfig(dataclasses.replace(MODEL, executor="oracle"), ENGINE, GRAMMAR)
    assert choice.plan_executor(config, SOURCE, assets).facts.name == "oracle"
    assert caplog.messages == ["the oracle executor runs the model: it was asked for"]


def test_a_model_that_native_cannot_run_falls_to_torch(
    loaders: Loaders, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    loaders.native_error = UnsupportedModelError("the architecture Mamba is not supported")
    assert load() == "torch"
    (line,) = caplog.messages
    assert "the torch executor" in line and "the architecture Mamba is not supported" in line
    with pytest.raises(UnsupportedModelError, match="Mamba"):
        load(executor="native")


def test_a_damaged_model_falls_to_nothing(loaders: Loaders) -> None:
    loaders.native_error = ModelError("the file is truncated")
    with pytest.raises(ModelError, match="truncated"):
        load()
    assert not loaders.torch


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"executor": "torch"}, "it was asked for"),
        ({"dtype": "float16"}, "only torch computes in the dtype float16"),
        ({}, "the architecture Mamba is not supported"),
    ],
)
def test_where_torch_is_needed_but_absent_the_extra_is_named(
    changes: dict[str, str], reason: str, loaders: Loaders
) -> None:
    loaders.remove_torch()
    loaders.native_error = UnsupportedModelError("the architecture Mamba is not supported")
    with pytest.raises(ConfigError, match=r"text-generation-server\[torch\]") as raised:
        load(**changes)
    assert reason in str(raised.value)
    assert not loaders.torch


def test_native_needs_no_torch(loaders: Loaders) -> None:
    loaders.remove_torch()
    assert load() == "native"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, NativeOptions()),
        ({"dtype": "bfloat16"}, NativeOptions(weights="bf16")),
        ({"quantize": "int8"}, NativeOptions(weights="int8")),
        ({"quantize": "int4"}, NativeOptions(weights="int4")),
        ({"kv_cache_dtype": "bf16"}, NativeOptions(kv_dtype="bf16")),
        ({"kv_cache_dtype": "int8"}, NativeOptions(kv_dtype="int8")),
        (
            {"page_tokens": 16, "num_threads": 3, "max_total_tokens": 99},
            NativeOptions(page_tokens=16, num_threads=3, max_total_tokens=99),
        ),
        ({"cache_dir": Path("/cache")}, NativeOptions(cache_dir=Path("/cache"))),
    ],
)
def test_the_options_reach_native(
    changes: dict[str, Any], expected: NativeOptions, loaders: Loaders
) -> None:
    load(**changes)
    assert loaders.native == [expected]


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({"executor": "torch"}, "float32"),
        ({"executor": "torch", "dtype": "bfloat16"}, "bfloat16"),
        ({"executor": "torch", "dtype": "bfloat16", "kv_cache_dtype": "bf16"}, "bfloat16"),
        ({"dtype": "float16"}, "float16"),
    ],
)
def test_the_options_reach_torch(changes: dict[str, str], dtype: str, loaders: Loaders) -> None:
    load(**changes, page_tokens=16, num_threads=3)
    assert loaders.torch == [(dtype, 16, 3, None)]


@pytest.mark.parametrize(
    "changes",
    [
        {"executor": "torch", "quantize": "int8"},
        {"executor": "torch", "kv_cache_dtype": "int8"},
        {"executor": "torch", "kv_cache_dtype": "bf16"},
        {"dtype": "float32", "kv_cache_dtype": "int8"},
    ],
)
def test_what_torch_cannot_is_refused_not_dropped(
    changes: dict[str, str], loaders: Loaders
) -> None:
    with pytest.raises(ConfigError, match="quantizes nothing"):
        load(**changes)
    assert not loaders.torch


@pytest.mark.parametrize("name", ["awq", "gptq"])
def test_a_quantized_folder_may_be_confirmed_but_not_renamed(
    name: str, loaders: Loaders, tmp_path: Path
) -> None:
    source = ModelSource("model", "", tmp_path)
    write_config = (tmp_path / "config.json").write_text
    write_config(json.dumps({"quantization_config": {"quant_method": name, "bits": 4}}))
    assert load(source, quantize=name) == "native"
    assert loaders.native == [NativeOptions()]
    for config in (
        {"quantization_config": {"quant_method": "fp8"}},
        {"quantization_config": 4},
        {},
    ):
        write_config(json.dumps(config))
        with pytest.raises(ConfigError, match=f"quantize is {name}, but"):
            load(source, quantize=name)


def test_a_gguf_is_no_quantized_folder(loaders: Loaders) -> None:
    with pytest.raises(ConfigError, match="quant_method is None"):
        load(resolve(EMBEDDED_MODEL), quantize="awq")


@pytest.mark.parametrize("executor", ["auto", "native", "torch"])
def test_only_the_oracle_runs_on_several_ranks(executor: str, loaders: Loaders) -> None:
    with pytest.raises(ConfigError, match="num_shard is 2"):
        load(executor=executor, num_shard=2)


def test_several_ranks_need_torch(loaders: Loaders) -> None:
    loaders.remove_torch()
    with pytest.raises(ConfigError, match="2 ranks talk to each other"):
        load(executor="oracle", num_shard=2)
