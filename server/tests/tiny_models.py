"""Tiny random models in Hugging Face's layout, and their reference by transformers."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel

BOS_ID, EOS_ID = 256, 257
VOCAB_SIZE = 258
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] }}: {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_tiny_llama(folder: Path, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """`make_tiny_model` of Llama's family."""
    return make_tiny_model(folder, LlamaConfig, seed, **overrides)


def make_tiny_model(
    folder: Path, config_class: type[PreTrainedConfig], seed: int = 0, **overrides: Any
) -> PreTrainedModel:
    """Write config.json, model.safetensors, tokenizer.json and tokenizer_config.json to `folder`.

    overrides: fields of the config. Returns the model that was saved, in float32.
    """
    fields: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "pad_token_id": None,
        # Larger than in training: the logits of an untrained model would be all but equal.
        "initializer_range": 0.3,
    }
    torch.manual_seed(seed)
    # Eager: the only attention that knows every family's soft caps.
    model = AutoModelForCausalLM.from_config(
        config_class(**(fields | overrides)), attn_implementation="eager"
    ).eval()
    for name, parameter in model.named_parameters():
        # transformers starts biases at 0 and norms at 1, which would hide their absence.
        if parameter.dim() == 1:
            center = float("norm" in name and parameter.detach().mean() > 0.5)
            torch.nn.init.normal_(parameter, mean=center, std=0.2)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer without merges: a token a byte, plus <s> and </s>."""
    vocabulary = {text: i for i, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<s>"), AddedToken("</s>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def edit_json(path: Path, remove: tuple[str, ...] = (), **changes: Any) -> None:
    """Change the top-level keys of a JSON file."""
    content = json.loads(path.read_text()) | changes
    for key in remove:
        content.pop(key, None)
    path.write_text(json.dumps(content))
