"""CUDA source of what CuPy has no fused function for. Text only: this module needs neither CuPy nor a GPU."""

# Each step of a block between two matrix products reads and writes its rows once. `T` is float or double.
ROWS = """
template <typename V> __device__ V across_warp(V v, bool largest) {
    for (int step = 16; step > 0; step /= 2) {
        V other = __shfl_xor_sync(0xffffffffu, v, step);
        v = largest ? (other > v ? other : v) : v + other;
    }
    return v;
}

// The sum or the maximum over all threads of a block, in each of them. The block is a multiple of 32 threads.
template <typename V> __device__ V across_block(V v, bool largest, V nothing) {
    __shared__ V part[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = across_warp(v, largest);
    __syncthreads();  // part may still be read from the last call
    if (lane == 0) part[warp] = v;
    __syncthreads();
    return across_warp(lane < warps ? part[lane] : nothing, largest);
}

// y = (x - mean) / sqrt(variance + eps) * g + b, one block for each row of n
extern "C" __global__ void layer_norm(const T* x, const T* g, const T* b, T* y, int n, double eps) {
    x += (long long)blockIdx.x * n;
    y += (long long)blockIdx.x * n;
    T sum = 0, squares = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    T mean = across_block<T>(sum, false, 0) / n;
    for (int i = threadIdx.x; i < n; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    T scale = 1 / sqrt(across_block<T>(squares, false, 0) / n + (T)eps);
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = (x[i] - mean) * scale * g[i] + b[i];
}

// y = x / sqrt(mean of squares + eps) * g, one block for each row of n
extern "C" __global__ void rms_norm(const T* x, const T* g, T* y, int n, double eps) {
    x += (long long)blockIdx.x * n;
    y += (long long)blockIdx.x * n;
    T squares = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) squares += x[i] * x[i];
    T scale = 1 / sqrt(across_block<T>(squares, false, 0) / n + (T)eps);
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i] * scale * g[i];
}

// In place: scores [..., head, query, key] to probabilities, over the keys from the query's position back, at most
// `window` of them (0: all). `cap` bends scores before (0: it does not). One block for each row of keys; `texts` is 0
// where all rows share one list of positions.
extern "C" __global__ void causal_softmax(
    T* scores, const long long* position, int keys, int queries, int heads, int texts, int window, double scale,
    double cap
) {
    long long row = blockIdx.x, query = row % queries, text = texts ? row / queries / heads : 0;
    long long seen = position[text * queries + query], first = window > 0 ? seen - window + 1 : 0;
    scores += row * keys;
    const T lowest = (T)-3e38;  // the compiler CuPy uses knows no INFINITY
    T largest = lowest, sum = 0;
    for (int i = threadIdx.x; i < keys; i += blockDim.x) {
        T score = scores[i] * (T)scale;
        if (cap > 0) score = (T)cap * tanh(score / (T)cap);
        scores[i] = score;
        if (i >= first && i <= seen && score > largest) largest = score;
    }
    largest = across_block<T>(largest, true, lowest);
    for (int i = threadIdx.x; i < keys; i += blockDim.x) {
        T e = i >= first && i <= seen ? exp(scores[i] - largest) : (T)0;
        scores[i] = e;
        sum += e;
    }
    sum = across_block<T>(sum, false, 0);
    for (int i = threadIdx.x; i < keys; i += blockDim.x) scores[i] /= sum;
}
"""

# name -> (inputs, outputs, what is done for each element), as cupy.ElementwiseKernel takes them
ELEMENTWISE = {
    "gelu": ("T x", "T y", "y = T(0.5) * x * (T(1) + tanh(T(0.7978845608028654) * (x + T(0.044715) * (x * x * x))))"),
    "gelu_erf": ("T x", "T y", "y = T(0.5) * x * erfc(x * T(-0.7071067811865476))"),
    "relu": ("T x", "T y", "y = x > T(0) ? x : T(0)"),
    "silu": ("T x", "T y", "y = x / (T(1) + exp(-x))"),
    # x [..., head, seq, head_dim], cosines and sines of each pair's angle -> y, both halves of a pair at once
    "rotate": (
        "raw T x, T cosine, T sine, int64 half, int64 head_dim",
        "raw T y",
        "long long at = i / half * head_dim + i % half;"
        " T left = x[at], right = x[at + half];"
        " y[at] = left * cosine - right * sine;"
        " y[at + half] = right * cosine + left * sine",
    ),
    # new [batch, head, seq, head_dim] and its positions, broadcast -> old [batch, head, capacity, head_dim], in place.
    # What lands past the end is dropped.
    "write": (
        "T fresh, int64 position, int64 seq, int64 head_dim, int64 capacity",
        "raw U old",
        "if (position >= 0 && position < capacity)"
        " old[(i / head_dim / seq * capacity + position) * head_dim + i % head_dim] = (U)fresh",
    ),
}
