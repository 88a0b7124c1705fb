"""OpenVINO GenAI's continuous batching, in this process. It reads GGUF files itself."""

import time
from importlib.metadata import version
from typing import Any

import numpy as np
import openvino
import openvino_genai
from wire import Arrivals, Settings, serve

_BLOCK_TOKENS = 32
"""Tokens of a KV block on the CPU."""


class OpenVino:
    """See `wire.Engine`."""

    def __init__(self, settings: Settings) -> None:
        options = settings.options
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.max_num_batched_tokens = options["batch"]
        # Twice what a run needs, so that what earlier ones left stays cached.
        blocks = -(-settings.stream_tokens // _BLOCK_TOKENS)
        scheduler.num_kv_blocks = 2 * blocks * settings.streams
        properties = {"INFERENCE_NUM_THREADS": settings.threads}
        # A GGUF file has the tokenizer that a folder of converted weights lacks.
        tokenizer = openvino_genai.Tokenizer(options["tokenizer"])
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            settings.model, tokenizer, scheduler, "CPU", **properties
        )
        self._requests = 0
        self.facts = {"version": version("openvino-genai")}

    def run(self, prompts: list[list[int]], new_tokens: int) -> Arrivals:
        """See `wire.Engine.run`."""
        began = time.perf_counter()
        config = openvino_genai.GenerationConfig(
            max_new_tokens=new_tokens, ignore_eos=True, do_sample=False
        )
        handles = [self._submit(prompt, config) for prompt in prompts]
        arrivals: Arrivals = [[] for _ in prompts]
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
            now = time.perf_counter() - began
            for handle, times in zip(handles, arrivals, strict=True):
                if handle.can_read():
                    drawn = handle.read().values()
                    times.extend(now for output in drawn for _ in output.generated_ids)
        return arrivals

    def _submit(self, prompt: list[int], config: openvino_genai.GenerationConfig) -> Any:
        self._requests += 1
        tokens = openvino.Tensor(np.array([prompt], np.int64))
        return self._pipeline.add_request(self._requests, tokens, config)


if __name__ == "__main__":
    serve(OpenVino)
