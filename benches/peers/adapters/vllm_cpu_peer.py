"""vLLM on the CPU, its engine in this process."""

import os
import time

# Read by vLLM when it is imported: a process between us and the engine only costs time.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # noqa: TID251

import vllm
from vllm.sampling_params import RequestOutputKind
from wire import Arrivals, Settings, serve

_KV_GIGABYTES = 4


class Vllm:
    """See `wire.Engine`."""

    def __init__(self, settings: Settings) -> None:
        # vLLM takes these from nowhere else.
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(_KV_GIGABYTES)  # noqa: TID251
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{settings.threads - 1}"  # noqa: TID251
        arguments = vllm.EngineArgs(
            model=settings.model,
            skip_tokenizer_init=True,
            dtype="bfloat16",
            max_model_len=settings.stream_tokens,
            max_num_seqs=settings.streams,
            max_num_batched_tokens=settings.options["batch"],
            enable_chunked_prefill=True,
            enable_prefix_caching=True,
        )
        self._engine = vllm.LLMEngine.from_engine_args(arguments)
        self._requests = 0
        self.facts = {"version": vllm.__version__}

    def run(self, prompts: list[list[int]], new_tokens: int) -> Arrivals:
        """See `wire.Engine.run`."""
        began = time.perf_counter()
        params = vllm.SamplingParams(
            temperature=0,
            max_tokens=new_tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        arrivals: dict[str, list[float]] = {}
        for prompt in prompts:
            self._requests += 1
            name = str(self._requests)
            arrivals[name] = []
            self._engine.add_request(name, {"prompt_token_ids": prompt}, params)
        while self._engine.has_unfinished_requests():
            outputs = self._engine.step()
            now = time.perf_counter() - began
            for output in outputs:
                drawn = output.outputs[0].token_ids
                arrivals[output.request_id].extend(now for _ in drawn)
        return list(arrivals.values())


if __name__ == "__main__":
    serve(Vllm)
