"""What tells a model's files from others: part of the fingerprint of everything cached of it."""

import hashlib

from text_generation_server.models.safetensors_file import weight_files
from text_generation_server.models.source import ModelSource


def weights_digest(source: ModelSource) -> str:
    """SHA-256 over the content of all files that decide what KV a prompt gets: the weights, the
    description and the tokenizer. About one second per GB."""
    if source.is_gguf:
        files = [source.path]
    else:
        fixed = [source.path / "config.json", source.path / "tokenizer.json"]
        files = [*fixed, *weight_files(source.path)]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
