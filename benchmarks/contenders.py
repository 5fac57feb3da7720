"""Each program that is compared, behind the same three calls. Run as a script, it is the process of one of them.

    load(folder, threads)  seconds to import, load and draw a first id, peak memory
    prefill(n)             seconds to read `n` ids and draw one
    decode(n, new)         seconds to draw `new` ids greedily, one at a time, after the first id behind `n`

`ids` of a decode are given back, to see that all computed the same model.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.bench.worker import Worker, peak_bytes, random_ids, serve
from arrayformer.core.child import Requests

N_VOCAB = 50257


class Contender:
    """A program that reads ids and draws the likeliest."""

    def open(self, folder: Path, threads: int) -> None:
        """Import and load."""
        raise NotImplementedError

    def start(self, ids: list[int]) -> int:
        """Read a prompt, forgetting the last one; the likeliest next id."""
        raise NotImplementedError

    def next(self, id: int) -> int:
        """Read one id more; the likeliest next one."""
        raise NotImplementedError

    def load(self, folder: str, threads: int) -> dict[str, Any]:
        """Everything somebody waits for who starts the program."""
        start = time.perf_counter()
        self.open(Path(folder), threads)
        loaded = time.perf_counter()
        self.start(random_ids(16, N_VOCAB, 0))
        return {
            "load_s": loaded - start, "first_token_s": time.perf_counter() - start, "peak_bytes": peak_bytes(),
            "version": self.version(),
        }  # fmt: skip

    def version(self) -> str:
        """Of the program."""
        return ""

    def prefill(self, n_prompt: int) -> dict[str, Any]:
        """Read a prompt and draw one id."""
        ids = random_ids(n_prompt, N_VOCAB, 0)
        start = time.perf_counter()
        self.start(ids)
        return {"seconds": time.perf_counter() - start, "peak_bytes": peak_bytes()}

    def decode(self, n_prompt: int, n_new: int) -> dict[str, Any]:
        """Draw ids after the first one."""
        ids = [self.start(random_ids(n_prompt, N_VOCAB, 0))]
        start = time.perf_counter()
        for _ in range(n_new):
            ids.append(self.next(ids[-1]))
        return {"seconds": time.perf_counter() - start, "ids": ids[:8], "peak_bytes": peak_bytes()}


class Arrayformer(Contender):
    """This project, through the loop that `generate` uses."""

    def __init__(
        self, backend: str, dtype: str | None = None, device: str | None = None, pack: str | None = None
    ) -> None:
        self.where = {"backend": backend, "dtype": dtype, "device": device, "pack": pack}
        self.worker = Worker()

    def load(self, folder: str, threads: int) -> dict[str, Any]:
        """The threads come by the environment."""
        return self.worker.load(model=f"{folder}/hf", **self.where)

    def prefill(self, n_prompt: int, batch: int = 1) -> dict[str, Any]:
        """Read prompts and draw one id for each."""
        return self.worker.prefill(n_prompt, batch)

    def decode(self, n_prompt: int, n_new: int, batch: int = 1) -> dict[str, Any]:
        """Draw ids after the first one of each row."""
        prompt = random_ids(n_prompt, N_VOCAB, 0)
        ids = self.worker.model.generate(prompt, max_new_tokens=8, ignore_eos=True).ids
        return self.worker.decode(n_prompt, n_new, batch) | {"ids": ids}

    def lookup(self, n_new: int, speculate: bool) -> dict[str, Any]:
        """Write on after a prompt that repeats itself, guessing ahead or not."""
        prompt = random_ids(8, N_VOCAB, 1) * 6
        start = time.perf_counter()
        made = self.worker.model.generate(prompt, max_new_tokens=n_new, ignore_eos=True, speculate=speculate)
        return {"seconds": time.perf_counter() - start, "ids": made.ids, "acceptance": made.acceptance}


class Uncached(Contender):
    """picoGPT's way: this project's graph without overrides, over the whole text again for each id."""

    def open(self, folder: Path, threads: int) -> None:
        """The weights as the file has them."""
        from arrayformer.core.checkpoint import read_checkpoint

        self.config, self.params = read_checkpoint(folder / "hf")

    def start(self, ids: list[int]) -> int:
        """Logits of every place, as picoGPT has them."""
        from arrayformer import gpt2

        self.ids = list(ids)
        return int(np.argmax(np.asarray(gpt2(self.ids, **self.params, n_head=self.config.n_head))[-1]))

    def next(self, id: int) -> int:
        """Everything again."""
        return self.start([*self.ids, id])


class Transformers(Contender):
    """Hugging Face transformers on torch, its cache, the head for the last id alone."""

    def __init__(self, dtype: str, compiled: bool = False, device: str = "cpu") -> None:
        self.dtype, self.compiled, self.device = dtype, compiled, device

    def open(self, folder: Path, threads: int) -> None:
        """In `dtype`, eager or through torch.compile."""
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch = torch
        dtype = getattr(torch, self.dtype)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=dtype).eval().to(self.device)
        if self.compiled:
            self.model.forward = torch.compile(self.model.forward, mode="reduce-overhead")

    def version(self) -> str:
        """Both libraries'."""
        import transformers

        return f"transformers {transformers.__version__}, torch {self.torch.__version__}"

    def start(self, ids: list[int]) -> int:
        """A new cache."""
        self.past: Any = None
        return self._read(ids)

    def next(self, id: int) -> int:
        """With the cache."""
        return self._read([id])

    def bandwidth(self) -> dict[str, Any]:
        """Bytes per second that the device reads and writes in a copy of 1 GiB; the best of ten."""
        x = self.torch.ones(1 << 28, device=self.device)
        y, seconds = self.torch.empty_like(x), []
        for _ in range(10):
            self.torch.cuda.synchronize()
            start = time.perf_counter()
            y.copy_(x)
            self.torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return {"bytes_per_s": 2 * 4 * x.numel() / min(seconds), "card": self.torch.cuda.get_device_name()}

    def _read(self, ids: list[int]) -> int:
        x = self.torch.tensor([ids], device=self.device)
        out = self.model(input_ids=x, past_key_values=self.past, use_cache=True, logits_to_keep=1)
        self.past = out.past_key_values
        return int(out.logits[0, -1].argmax())


class LlamaCpp(Contender):
    """llama.cpp through llama-cpp-python."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def open(self, folder: Path, threads: int) -> None:
        """A context of 1024, the whole prompt in one batch."""
        import llama_cpp

        self.library = llama_cpp
        self.model = llama_cpp.Llama(
            str(folder / f"{self.dtype}.gguf"), n_ctx=1024, n_batch=1024, n_ubatch=1024, n_threads=threads,
            n_threads_batch=threads, verbose=False,
        )  # fmt: skip

    def version(self) -> str:
        """Of the binding, which names the llama.cpp it is built from."""
        return f"llama-cpp-python {self.library.__version__}"

    def start(self, ids: list[int]) -> int:
        """From an empty context."""
        self.model.reset()
        return self._read(ids)

    def next(self, id: int) -> int:
        """One id more."""
        return self._read([id])

    def _read(self, ids: list[int]) -> int:
        self.model.eval(ids)
        pointer = self.library.llama_get_logits_ith(self.model.ctx, -1)
        return int(np.argmax(np.ctypeslib.as_array(pointer, shape=(N_VOCAB,))))


class CTranslate2(Contender):
    """CTranslate2, float32, through its own loop: it has no call for a single step."""

    def open(self, folder: Path, threads: int) -> None:
        """The converted model and the names of its tokens."""
        import ctranslate2

        from arrayformer.tokenizer import gpt2_tokenizer

        self.library = ctranslate2
        self.model = ctranslate2.Generator(
            str(folder / "ct2"), device="cpu", compute_type="float32", intra_threads=threads
        )
        vocab = gpt2_tokenizer().vocab
        self.tokens = sorted(vocab, key=vocab.__getitem__)

    def version(self) -> str:
        """Of the library."""
        return f"ctranslate2 {self.library.__version__}"

    def start(self, ids: list[int]) -> int:
        """One id."""
        return self._write(ids, 1)[0]

    def decode(self, n_prompt: int, n_new: int) -> dict[str, Any]:
        """The time of 1 + `n_new` ids less that of one."""
        ids = random_ids(n_prompt, N_VOCAB, 0)
        start = time.perf_counter()
        self._write(ids, 1)
        first = time.perf_counter()
        drawn = self._write(ids, 1 + n_new)
        return {"seconds": time.perf_counter() - first - (first - start), "ids": drawn[:8], "peak_bytes": peak_bytes()}

    def _write(self, ids: list[int], n: int) -> list[int]:
        result = self.model.generate_batch(
            [[self.tokens[id] for id in ids]], max_length=n, min_length=n, sampling_topk=1,
            include_prompt_in_result=False,
        )  # fmt: skip
        drawn: list[int] = result[0].sequences_ids[0]
        return drawn


CONTENDERS: dict[str, tuple[type[Contender], tuple[Any, ...], tuple[str, ...]]] = {
    "numpy": (Arrayformer, ("numpy",), ()),
    "numba": (Arrayformer, ("numba",), ("numba",)),
    "numba bf16": (Arrayformer, ("numba", "bfloat16"), ("numba",)),
    "numba q8_0": (Arrayformer, ("numba", None, None, "q8_0"), ("numba",)),
    "numba q4_0": (Arrayformer, ("numba", None, None, "q4_0"), ("numba",)),
    "jax": (Arrayformer, ("jax",), ("jax",)),
    "torch plugin": (Arrayformer, ("torch",), ("arrayformer_torch", "torch")),
    "torch plugin bf16": (Arrayformer, ("torch", "bfloat16"), ("arrayformer_torch", "torch")),
    "uncached": (Uncached, (), ()),
    "transformers": (Transformers, ("float32",), ("torch", "transformers")),
    "transformers bf16": (Transformers, ("bfloat16",), ("torch", "transformers")),
    "llama.cpp f32": (LlamaCpp, ("f32",), ("llama_cpp", "gguf")),
    "llama.cpp f16": (LlamaCpp, ("f16",), ("llama_cpp", "gguf")),
    "llama.cpp q8_0": (LlamaCpp, ("q8_0",), ("llama_cpp", "gguf")),
    "llama.cpp q4_0": (LlamaCpp, ("q4_0",), ("llama_cpp", "gguf")),
    "CTranslate2": (CTranslate2, (), ("ctranslate2", "torch", "transformers")),
}
"""By name: the class, its arguments, and the modules that have to be installed."""

GPU_CONTENDERS: dict[str, tuple[type[Contender], tuple[Any, ...], tuple[str, ...]]] = {
    "jax bf16": (Arrayformer, ("jax", "bfloat16", "gpu:0"), ("jax",)),
    "jax f32": (Arrayformer, ("jax", "float32", "gpu:0"), ("jax",)),
    "cupy f16": (Arrayformer, ("cupy", "float16", "cuda:0"), ("cupy",)),
    "cupy f32": (Arrayformer, ("cupy", "float32", "cuda:0"), ("cupy",)),
    "torch plugin on GPU bf16": (Arrayformer, ("torch", "bfloat16", "cuda:0"), ("arrayformer_torch", "torch")),
    "torch plugin on GPU f32": (Arrayformer, ("torch", "float32", "cuda:0"), ("arrayformer_torch", "torch")),
    "eager bf16": (Transformers, ("bfloat16", False, "cuda"), ("torch", "transformers")),
    "eager f32": (Transformers, ("float32", False, "cuda"), ("torch", "transformers")),
    "torch.compile bf16": (Transformers, ("bfloat16", True, "cuda"), ("torch", "transformers")),
    "torch.compile f32": (Transformers, ("float32", True, "cuda"), ("torch", "transformers")),
}
"""The same on a GPU. "eager" and "torch.compile" are Hugging Face transformers."""

FORMS = {
    "llama.cpp f32": "f32",
    "llama.cpp f16": "f16",
    "llama.cpp q8_0": "q8_0",
    "llama.cpp q4_0": "q4_0",
    "CTranslate2": "ct2",
}
"""Which form of the weights a contender needs beside Hugging Face's."""


def main() -> None:
    """Answer requests for the contender named on the command line."""
    kind, arguments, _ = (CONTENDERS | GPU_CONTENDERS)[sys.argv[1]]
    requests = Requests()
    serve(kind(*arguments), requests)


if __name__ == "__main__":
    main()
