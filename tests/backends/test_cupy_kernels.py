"""The text of CuPy's kernels, compiled as C++ and run in turns: what they compute, without a GPU.

Each CUDA thread is a coroutine that runs until its next `__syncthreads`, a shuffle an exchange through memory. It
says nothing about speed and nothing about CuPy's own part; the tests marked `gpu` do.
"""

import ctypes
import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrayformer.backends.cupy.kernels import ELEMENTWISE, ROWS
from arrayformer.core import ops

COMPILER = shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
THREADS = 64

SHIM = """
#include <cmath>
#include <functional>
#include <ucontext.h>
#include <vector>
#define T float
#define __global__
#define __device__
#define __shared__ static
const int N = %d;
struct Index { int x; };
static Index threadIdx, blockIdx;
static const Index blockDim{N};
static double lanes[N];
static bool ended[N];
static ucontext_t scheduler, threads[N];
static std::function<void()> work;
static void __syncthreads() { swapcontext(&threads[threadIdx.x], &scheduler); }
static void thread() { work(); ended[threadIdx.x] = true; }
template <typename V> V __shfl_xor_sync(unsigned, V v, int step) {
    lanes[threadIdx.x] = v;
    __syncthreads();  // all warps take the same steps, so a barrier of the block does
    V other = (V)lanes[threadIdx.x ^ step];
    __syncthreads();
    return other;
}
%s
static void launch(int blocks, std::function<void()> body) {
    static std::vector<char> stacks(N * 65536);
    work = body;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
        for (int t = 0; t < N; t++) {
            getcontext(&threads[t]);
            threads[t].uc_stack.ss_sp = &stacks[t * 65536];
            threads[t].uc_stack.ss_size = 65536;
            threads[t].uc_link = &scheduler;
            makecontext(&threads[t], thread, 0);
            ended[t] = false;
        }
        for (bool running = true; running;) {
            running = false;
            for (int t = 0; t < N; t++) if (!ended[t]) {
                threadIdx.x = t;
                running = true;
                swapcontext(&scheduler, &threads[t]);  // until its next __syncthreads
            }
        }
    }
}
extern "C" void run_layer_norm(int blocks, const T* x, const T* g, const T* b, T* y, int n, double eps) {
    launch(blocks, [=] { layer_norm(x, g, b, y, n, eps); });
}
extern "C" void run_rms_norm(int blocks, const T* x, const T* g, T* y, int n, double eps) {
    launch(blocks, [=] { rms_norm(x, g, y, n, eps); });
}
extern "C" void run_softmax(int blocks, T* scores, const long long* position, int keys, int queries, int heads,
                            int texts, int window, double scale, double cap) {
    launch(blocks, [=] { causal_softmax(scores, position, keys, queries, heads, texts, window, scale, cap); });
}
typedef float U;
extern "C" void run_activation(int which, const T* in, T* out, int n) {
    for (int i = 0; i < n; i++) { T x = in[i], y; if (which == 0) { %s; } else if (which == 1) { %s; }
        else if (which == 2) { %s; } else { %s; } out[i] = y; }
}
extern "C" void run_write(const T* news, const long long* positions, long long seq, long long head_dim,
                          long long capacity, U* old, int n) {
    for (long long i = 0; i < n; i++) { T fresh = news[i]; long long position = positions[i]; %s; }
}
extern "C" void run_rotate(const T* x, const T* cosines, const T* sines, long long half, long long head_dim, T* y,
                           int n) {
    for (long long i = 0; i < n; i++) { T cosine = cosines[i], sine = sines[i]; %s; }
}
"""
ACTIVATIONS = ("gelu", "gelu_erf", "relu", "silu")


@functools.cache
def _compiled(folder: Path) -> Any:
    bodies = [ELEMENTWISE[n][2] for n in (*ACTIVATIONS, "write", "rotate")]
    (folder / "kernels.cpp").write_text(SHIM % (THREADS, ROWS, *bodies))
    library = folder / "kernels.so"
    command = [str(COMPILER), "-std=c++17", "-O1", "-shared", "-fPIC", str(folder / "kernels.cpp")]
    subprocess.run([*command, "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernels as a shared library."""
    return _compiled(tmp_path_factory.mktemp("kernels"))


def pointer(x: np.ndarray) -> ctypes.c_void_p:
    """Where an array's memory begins."""
    assert x.flags.c_contiguous
    return ctypes.c_void_p(x.ctypes.data)


def normal(*shape: int) -> np.ndarray:
    """float32, the same each time"""
    return np.random.default_rng(len(shape)).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("n", [1, 31, 64, 129])
def test_layer_norm_is_that_of_the_graph(kernels: Any, n: int) -> None:
    x, g, b = normal(3, n) * 10 + 100, normal(n), normal(n)
    y = np.empty_like(x)

    kernels.run_layer_norm(3, *map(pointer, (x, g, b, y)), n, ctypes.c_double(1e-5))

    np.testing.assert_allclose(y, ops.layer_norm(x, g, b, 1e-5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("texts", [0, 1])
@pytest.mark.parametrize("keys", [1, 7, 64, 100])
def test_softmax_looks_at_keys_up_to_each_query_s_position(kernels: Any, texts: int, keys: int) -> None:
    batch, heads, queries = 2, 3, 4
    scores = normal(batch, heads, queries, keys) * 20
    position = np.array([[0, 1, 5, 90], [3, 4, 5, 6]])[: batch if texts else 1]
    mask = np.broadcast_to(ops.causal_mask(position, keys)[:, None], scores.shape)
    expected = ops.softmax(np.where(mask, scores * np.float32(0.25), np.float32(-np.inf)))

    kernels.run_softmax(
        batch * heads * queries, pointer(scores), pointer(position), keys, queries, heads, texts, 0,
        ctypes.c_double(0.25), ctypes.c_double(0),
    )  # fmt: skip

    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("window", [1, 3, 100])
@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_softmax_looks_no_further_back_than_the_window_and_caps_scores(kernels: Any, window: int, cap: float) -> None:
    batch, heads, queries, keys = 2, 2, 4, 40
    scores = normal(batch, heads, queries, keys) * 20
    position = np.array([[0, 1, 5, 39], [20, 21, 22, 23]])
    mask = np.broadcast_to(ops.causal_mask(position, keys, window)[:, None], scores.shape)
    capped = ops.soft_cap(scores * np.float32(0.25), cap or None)
    expected = ops.softmax(np.where(mask, capped, np.float32(-np.inf)))

    kernels.run_softmax(
        batch * heads * queries, pointer(scores), pointer(position), keys, queries, heads, 1, window,
        ctypes.c_double(0.25), ctypes.c_double(cap),
    )  # fmt: skip

    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n", [1, 31, 64, 129])
def test_rms_norm_is_that_of_the_graph(kernels: Any, n: int) -> None:
    x, g = normal(3, n) * 10, normal(n)
    y = np.empty_like(x)

    kernels.run_rms_norm(3, *map(pointer, (x, g, y)), n, ctypes.c_double(1e-5))

    np.testing.assert_allclose(y, ops.rms_norm(x, g, 1e-5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("half", [1, 3, 4])
def test_a_rotation_is_that_of_the_graph(kernels: Any, half: int) -> None:
    x, angles = normal(2, 3, 5, 8), normal(2, 5, half) * 100
    cos, sin = (np.broadcast_to(f(angles)[:, None], (2, 3, 5, half)).copy() for f in (np.cos, np.sin))
    y = x.copy()

    kernels.run_rotate(
        pointer(x), pointer(cos), pointer(sin), ctypes.c_longlong(half), ctypes.c_longlong(8), pointer(y), cos.size
    )

    np.testing.assert_allclose(y, ops.rotate(x, np.cos(angles), np.sin(angles)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_the_graph(kernels: Any, name: str) -> None:
    x = np.concatenate([normal(500) * 3, np.array([0, -0.0, 30, -30, 1e4, -1e4], np.float32)])
    y = np.empty_like(x)

    kernels.run_activation(ACTIVATIONS.index(name), pointer(x), pointer(y), x.size)

    with np.errstate(over="ignore"):
        expected = getattr(ops, name)(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("start", [0, 3, 6, 7, 8, 20])
def test_a_write_past_the_end_is_dropped(kernels: Any, start: int) -> None:
    old, new = normal(2, 3, 8, 5), normal(2, 3, 4, 5)
    position = np.array([[start], [1]]) + np.arange(4)
    expected = ops.write(old, new, position)
    everywhere = np.ascontiguousarray(np.broadcast_to(position[:, None, :, None], new.shape))

    kernels.run_write(pointer(new), pointer(everywhere), *map(ctypes.c_longlong, (4, 5, 8)), pointer(old), new.size)

    np.testing.assert_array_equal(old, expected)
