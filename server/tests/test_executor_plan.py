"""What is planned of an executor is what is then loaded, and no weight is read for it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from text_generation_server.errors import ConfigError
from text_generation_server.executor.executor_plan import ExecutorPlan
from text_generation_server.executor.native_executor import plan_native_executor
from text_generation_server.executor.native_options import NativeOptions
from text_generation_server.executor.step import ExecutorFacts
from text_generation_server.executor.torch_executor import plan_torch_executor
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.errors import ModelError, UnsupportedModelError
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import make_tiny_llama


def plan_native(source: ModelSource, **options: Any) -> ExecutorPlan[Any]:
    return plan_native_executor(source, NativeOptions(num_threads=2, **options))


def planned_facts(loaded: ExecutorFacts) -> ExecutorFacts:
    assert loaded.fingerprint
    return replace(loaded, fingerprint="")


@pytest.fixture(params=["tied", "untied", "embedded"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ModelSource:
    """The embedded model has several types of weights in a layer."""
    if request.param == "embedded":
        return resolve(EMBEDDED_MODEL)
    # Rows and columns that fill neither panels nor chunks.
    shape = {"vocab_size": 259, "intermediate_size": 41}
    make_tiny_llama(tmp_path, tie_word_embeddings=request.param == "tied", **shape)
    return resolve(str(tmp_path))


@pytest.mark.parametrize("weights", [None, "bf16", "int8", "int4"])
def test_native_is_what_was_planned(source: ModelSource, weights: str | None) -> None:
    kv_dtype = "int8" if weights == "int8" else "bf16"
    plan = plan_native(source, weights=weights, kv_dtype=kv_dtype)
    executor = plan.load()
    assert plan.facts == planned_facts(executor.facts)
    assert plan.weight_bytes == executor.weight_bytes


def test_torch_is_what_was_planned(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    plan = plan_torch_executor(resolve(str(tmp_path)), "bfloat16", page_tokens=16, num_threads=1)
    executor = plan.load()
    assert plan.facts == planned_facts(executor.facts)
    values = load_file(tmp_path / "model.safetensors").values()
    assert plan.weight_bytes == 2 * sum(value.size for value in values)


@pytest.mark.parametrize(
    "plan", [plan_native, lambda source: plan_torch_executor(source, "float32")]
)
def test_no_weight_is_read(plan: Any, tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: np.full_like(value, np.nan) for name, value in load_file(file).items()}, file)
    planned = plan(resolve(str(tmp_path)))
    with pytest.raises(ModelError, match="not finite"):
        planned.load()


def test_what_cannot_be_loaded_cannot_be_planned(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path, head_dim=264)
    with pytest.raises(UnsupportedModelError, match="264"):
        plan_native(resolve(str(tmp_path)))
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("model.norm.weight")
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"lacks 1 of .* model\.norm\.weight"):
        plan_native(resolve(str(tmp_path)))
    with pytest.raises(ConfigError, match="page_tokens is 16"):
        plan_native(resolve(EMBEDDED_MODEL), page_tokens=16)
