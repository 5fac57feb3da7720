"""One backend in a process of its own: it loads a model and times what it is asked to. JSON lines in, JSON lines out.

A process for each, because thread pools of two array libraries in one process slow each other down, and because
peak memory is counted by process.
"""

import sys
import time
from dataclasses import asdict
from typing import Any

from arrayformer.core.child import Requests


def peak_bytes() -> int | None:
    """The most memory this process ever had; None where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return peak_of_macos()


def peak_of_macos() -> int | None:
    """What getrusage says. Not for Linux, where a new process inherits the peak of the one that started it."""
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Worker:
    """What a bench process does: `load` once, then `prefill` and `decode`, which give seconds; or `bounds` alone."""

    def __init__(self) -> None:
        self.model: Any = None

    def load(
        self, model: str | None = None, random_weights: str | None = None, backend: str | None = None,
        device: str | None = None, dtype: str | None = None, pack: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Import, load, and draw one id: what somebody waits for who starts the program."""
        from arrayformer.bench.bounds import Work

        start = time.perf_counter()
        self.model = random_model(random_weights, backend, device, dtype) if random_weights else None
        if self.model is None:
            from arrayformer.api import load

            self.model = load(model or "fable", backend=backend, device=device, dtype=dtype, pack=pack)
        loaded = time.perf_counter()
        self._run(prompts=1, n_prompt=min(16, self.model.config.n_ctx - 1), n_new=1)
        chosen = self.model.backend
        return {
            "load_s": loaded - start, "first_token_s": time.perf_counter() - start, "peak_bytes": peak_bytes(),
            "backend": chosen.name, "version": chosen.version(), "device": chosen.device, "dtype": chosen.dtype,
            "config": self.model.config.as_dict(), "work": asdict(Work.of(self.model.config)),
        }  # fmt: skip

    def prefill(self, n_prompt: int, batch: int = 1) -> dict[str, Any]:
        """Read prompts of `n_prompt` ids and draw one id for each."""
        return {"seconds": self._run(batch, n_prompt, 1)[-1], "peak_bytes": peak_bytes()}

    def decode(self, n_prompt: int, n_new: int, batch: int = 1) -> dict[str, Any]:
        """Draw `n_new` ids for each row after the first one."""
        at = self._run(batch, n_prompt, n_new + 1)
        return {"seconds": at[-1] - at[0], "peak_bytes": peak_bytes()}

    def bounds(self, work: dict[str, Any], n_prompt: int) -> dict[str, Any]:
        """What the BLAS alone would take for the products of a model."""
        from arrayformer.bench.bounds import Work, decode_seconds, operations_per_second

        products = Work(**work)
        return {"decode_s": decode_seconds(products), "operations_per_s": operations_per_second(products, n_prompt)}

    def _run(self, prompts: int, n_prompt: int, n_new: int) -> list[float]:
        """Let the model write; seconds after the start at which each round of ids was there."""
        from arrayformer.core.generate.loop import generate
        from arrayformer.core.generate.options import Ending, Sampling
        from arrayformer.core.generate.text import Text

        config, ending = self.model.config, Ending(max_new_tokens=n_new, ignore_eos=True)
        ids = [random_ids(n_prompt, config.n_vocab, seed) for seed in range(prompts)]
        texts = [Text(prompt, Sampling(), ending, config.n_ctx) for prompt in ids]
        start = time.perf_counter()
        times = [time.perf_counter() for _ in generate(self.model.engine, texts, batch_size=prompts)]
        return [t - start for t in times[prompts - 1 :: prompts]]


def random_ids(n: int, n_vocab: int, seed: int) -> list[int]:
    """`n` ids that every process agrees on."""
    import random

    return random.Random(seed).choices(range(n_vocab), k=n)


def random_model(size: str, backend: str | None, device: str | None, dtype: str | None) -> Any:
    """A model of one of OpenAI's sizes with random weights and no tokenizer."""
    from arrayformer.api import Model
    from arrayformer.backends.registry import default_backend_name, get_backend
    from arrayformer.core.engine import Engine
    from arrayformer.core.models.gpt2 import SIZES
    from arrayformer.core.params import random_params

    chosen = get_backend(backend or default_backend_name(), device=device, dtype=dtype)
    config = SIZES[size]
    return Model(config, Engine(config, random_params(config.weights()), chosen, owned=True))


def serve(worker: object, requests: Requests) -> None:
    """Answer each request `{"do": NAME, ...}` with what the method of that name returns, or the error it raised."""
    from arrayformer.core.errors import ArrayformerError

    for request in requests:
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except (ArrayformerError, ImportError) as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        requests.answer(answer)


if __name__ == "__main__":
    serve(Worker(), Requests())
