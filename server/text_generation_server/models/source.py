"""Where a model's files are: turns a model id into files on this machine.

Knows names and places only; what the files say is `spec`, `assets` and `weights`.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from text_generation_server.models.embedded import EMBEDDED_PACKAGES, embedded_file
from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.gguf_spec import spec_from_gguf
from text_generation_server.models.hf_config import read_json, spec_from_config
from text_generation_server.models.int4 import int4_layout
from text_generation_server.models.spec import DecoderSpec

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
"""A model's files beside its weights; only the first and the tokenizer are needed."""
_WEIGHT_FILES = ("model*.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class ModelSource:
    """A model's files: a folder in Hugging Face's layout, or one GGUF file."""

    model_id: str
    """The id as the operator gave it."""
    revision: str
    """Commit of a model from the hub, "" for local files."""
    path: Path

    @property
    def is_gguf(self) -> bool:
        """Whether `path` is a GGUF file rather than a folder."""
        return self.path.is_file()

    @cached_property
    def gguf(self) -> GgufFile:
        """The GGUF file, parsed once for all who read it."""
        return GgufFile(self.path)

    def spec(self) -> DecoderSpec:
        """The decoder's description. Raises ModelError."""
        if self.is_gguf:
            return spec_from_gguf(self.gguf)
        config = read_json(self.path / "config.json")
        int4_layout(config)  # refuses other quantizations before any weight is read
        return spec_from_config(config)


def resolve(
    model_id: str,
    revision: str | None = None,
    hub_cache: Path | None = None,
    cache_dir: Path | None = None,
) -> ModelSource:
    """Find the model, downloading it where the id names one of the Hugging Face Hub.

    model_id: one of `EMBEDDED_PACKAGES`, a local folder, a local .gguf file or a hub id, tried in
    this order. revision: branch, tag or commit on the hub. hub_cache: folder for downloads instead
    of the hub's own default. cache_dir: see `embedded_file`. Raises ModelError.
    """
    if model_id in EMBEDDED_PACKAGES:
        return ModelSource(model_id, "", embedded_file(model_id, cache_dir))
    path = Path(model_id).expanduser()
    if model_id and path.is_dir():
        return ModelSource(model_id, "", path)
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelError(f"{model_id} is a file but not a .gguf: name a .gguf file or a folder")
        return ModelSource(model_id, "", path)
    if path.suffix == ".gguf" or not _HUB_ID.fullmatch(model_id):
        raise ModelError(
            f"there is no file or folder {model_id!r}, and it is no hub id (owner/name) either"
        )
    return _download(model_id, revision, hub_cache)


def _download(model_id: str, revision: str | None, hub_cache: Path | None) -> ModelSource:
    # Imported here: a local model needs neither the library nor the time to load it.
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=hub_cache,
            allow_patterns=[*MODEL_FILES, *_WEIGHT_FILES],
        )
    except errors.GatedRepoError as error:
        raise ModelError(
            f"access to {model_id} must be granted on the hub: accept its terms there and log in"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{model_id} has no revision {revision!r} on the hub") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"there is neither a local folder {model_id!r} nor a readable model of that name "
            "on the hub: check the name, and log in if the model is private"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise ModelError(
            f"there is no local folder {model_id!r}, it is not in the hub's cache, and the hub "
            "cannot be reached: go online, or download the model and name its folder"
        ) from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise ModelError(f"downloading {model_id} from the hub failed: {error}") from error
    return ModelSource(model_id, Path(folder).name, Path(folder))
