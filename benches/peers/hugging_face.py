"""Writes a model's weights as a folder in Hugging Face's layout, for engines that read no GGUF."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from text_generation_server.executor.torch_weights import load_weights
from text_generation_server.models.source import ModelSource
from text_generation_server.models.spec import DecoderSpec


def write_folder(source: ModelSource, folder: Path) -> None:
    """bf16 weights and config.json of a Llama; no tokenizer. Raises ModelError."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = source.spec()
    weights = load_weights(source, spec, torch.bfloat16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_config(spec)))


def _config(spec: DecoderSpec) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.hidden_size,
        "intermediate_size": spec.intermediate_size,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.num_heads,
        "num_key_value_heads": spec.num_kv_heads,
        "head_dim": spec.head_dim,
        "max_position_embeddings": spec.max_positions,
        "rms_norm_eps": spec.norm_eps,
        "rope_theta": spec.ropes[0].theta,
        "tie_word_embeddings": spec.tied_embeddings,
        "torch_dtype": "bfloat16",
    }
