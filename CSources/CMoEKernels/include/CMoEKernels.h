// SPDX-License-Identifier: Apache-2.0
//
// CMoEKernels: all per-element arithmetic of moe-infer, in C.
//
// Ownership: nothing here keeps a pointer after it returns, except a pool (its threads and per-worker scratch, until
// moe_pool_destroy) and the process-wide BLAS table (for the life of the process). All buffers belong to the caller.
// Thread-safety: a pool runs one parallel region at a time; callers serialise. Everything else is reentrant.
//
// Legend: m rows of activations (tokens), n output features, k input features (contiguous), d hidden size.
// All matrices are row-major. Weights are [n, k]: y[m, n] = x[m, k] * w[n, k]^T.
#ifndef CMOEKERNELS_H
#define CMOEKERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------------------------------------------------
// Element types. The values are those of the GGUF format, so that a file's type id is used as it is.

enum moe_type {
    MOE_TYPE_F32 = 0, MOE_TYPE_F16 = 1, MOE_TYPE_Q4_0 = 2, MOE_TYPE_Q4_1 = 3, MOE_TYPE_Q5_0 = 6, MOE_TYPE_Q5_1 = 7,
    MOE_TYPE_Q8_0 = 8, MOE_TYPE_Q2_K = 10, MOE_TYPE_Q3_K = 11, MOE_TYPE_Q4_K = 12, MOE_TYPE_Q5_K = 13,
    MOE_TYPE_Q6_K = 14, MOE_TYPE_IQ4_NL = 20, MOE_TYPE_IQ4_XS = 23, MOE_TYPE_BF16 = 30, MOE_TYPE_MXFP4 = 39,
    MOE_INTERLEAVED = 64,  // added to a type: its rows as moe_interleave leaves them, in groups as the active kernels have them
};

/// Elements per block and bytes per block of a type; 0 when the type is unknown.
int32_t moe_type_block_elements(int32_t type);
int32_t moe_type_block_bytes(int32_t type);
/// Bytes of a row of k elements (k a multiple of the block), or 0.
size_t moe_row_bytes(int32_t type, int64_t k);

/// dst[k] = the float32 values of one row of `type`. Bit-exact with the `gguf` Python package. k: multiple of the block.
void moe_dequantize_row(int32_t type, const void *src, float *dst, int64_t k);
/// The portable reference of the same; tests compare every ISA against it.
void moe_dequantize_row_ref(int32_t type, const void *src, float *dst, int64_t k);
/// The same by the kernels of a named ISA (see moe_kernels_limit); false when it is not available here. For tests.
bool moe_dequantize_row_isa(const char *isa, int32_t type, const void *src, float *dst, int64_t k);

/// Interleaved weights: groups of 8 or 16 rows, 256 elements of each after the other: first the float16 scales of their blocks, row beside
/// row, then the rest of the blocks, 4 bytes of every row side by side. As many bytes as before. Not for BLAS.
///
/// How many rows a group of a matrix [n, k] of this type has; 0 when it cannot be interleaved (n and k must be whole groups and chunks),
/// or gains nothing by it on this CPU.
int32_t moe_interleaved_rows(int32_t type, int64_t n, int64_t k);
/// The same for the kernels of a named ISA (see moe_kernels_limit). For tests.
int32_t moe_interleaved_rows_isa(const char *isa, int32_t type, int64_t n, int64_t k);
/// Interleaves rows [n, k], contiguous, in groups that moe_interleaved_rows gave; out: as many bytes, elsewhere.
void moe_interleave(int32_t type, int32_t group, const void *rows, int64_t n, int64_t k, void *out);

// ---------------------------------------------------------------------------------------------------------------------
// CPU and kernel table: detected once, the reference table first, then overrides per ISA.

typedef struct moe_cpu_features {
    bool avx2, fma, f16c, avx512f, avx512bw, avx512vl, avx512_vnni, avx512_bf16, avx_vnni, amx_int8;
    bool neon, dotprod, i8mm;
} moe_cpu_features;

moe_cpu_features moe_cpu_detect(void);
/// Limits dispatch for tests, or NULL for the best. The names, from worst to best: "ref"; on x86-64 "avx2", "avx512",
/// "avx512vnni", "avx512amx"; on 64-bit ARM "neon", "neon_dotprod", "neon_i8mm". Returns false when not available here.
/// Not thread-safe; call before any other kernel runs. Also read once from the environment variable MOE_ISA.
bool moe_kernels_limit(const char *isa);
/// The ISA name of the dot kernel in use for a type, for `doctor`.
const char *moe_kernel_name(int32_t type);
/// Who multiplies that many activation rows natively: "dot products", "panels", "wide panels", "float tiles"; "" for an unknown type.
const char *moe_kernel_path(int32_t type, int32_t rows);

// ---------------------------------------------------------------------------------------------------------------------
// Thread pool: fork-join, spins briefly, then sleeps on a futex. Worker 0 is the caller.

typedef struct moe_pool moe_pool;
/// NULL when threads < 1 or threads cannot be started.
moe_pool *moe_pool_create(int32_t threads);

/// Where a pool's threads run, and on which NUMA nodes the pages lie that they touch first.
typedef struct moe_thread_placement {
    const int32_t *cpus;   // worker i runs on cpus[i] only; NULL: wherever the system puts it
    int32_t cpu_count;     // at least the number of threads
    const int32_t *nodes;  // pages that a worker touches first go to these nodes in turn; NULL: to its own node
    int32_t node_count;
} moe_thread_placement;
/// As moe_pool_create; also NULL when a CPU or a node cannot be used, with the reason in errno. Worker 0 is the caller and stays as
/// it is: the thread that will be that one calls moe_thread_place.
moe_pool *moe_pool_create_placed(int32_t threads, const moe_thread_placement *placement);
/// Names and places the calling thread as worker 0. Returns 0, or an error number.
int32_t moe_thread_place(const moe_thread_placement *placement);
/// The calling thread's memory policy: 0 default, 3 interleave; bit n of *nodes: node n, of the first 64. -1: not known.
int32_t moe_thread_memory_policy(uint64_t *nodes);
/// The CPU that the calling thread is on, and how many it may use.
int32_t moe_thread_cpu(int32_t *allowed);
void moe_pool_destroy(moe_pool *pool);
int32_t moe_pool_threads(const moe_pool *pool);
typedef void (*moe_pool_task)(void *context, int32_t worker, int32_t workers);
/// Runs task on every worker and returns when all are done.
void moe_pool_run(moe_pool *pool, moe_pool_task task, void *context);

// ---------------------------------------------------------------------------------------------------------------------
// Matrix products. One call takes any number of independent products ("grouped"): the q, k and v projections of one
// layer, or the gate and up products of every active expert. Work is split over (task, columns), so that uneven
// numbers of rows per expert do not leave a thread idle.

typedef struct moe_matmul_task {
    const void *weights;        // [n, k] of weight_type, rows row_bytes apart
    const float *input;         // rows of k floats, input_stride floats apart
    const int32_t *input_rows;  // NULL: rows 0..<m of input; else m row indices into input (a gather without a copy)
    float *output;              // [m, n], rows output_stride floats apart; overwritten
    const float *bias;          // NULL or [n], added to every row
    int32_t *evaluations;       // NULL, or a counter per *input row*: += 1 for each row that this task computes. The
                                // proof of which experts were really run; counted here, not in the routing policy.
    size_t row_bytes;
    int64_t input_stride, output_stride;
    int32_t weight_type, m, n, k;
    // SwiGLU (Shazeer 2020): a second matrix [n, k] that multiplies the same input. Then output = silu(x w^T) * (x up^T), and
    // neither product is ever stored whole. NULL: none.
    const void *up;
    const float *up_bias;       // NULL or [n]
    size_t up_row_bytes;
    int32_t up_type;
} moe_matmul_task;

/// How a product is computed. Every row's result depends only on the path, never on m or on the other tasks.
enum moe_matmul_path {
    MOE_PATH_NATIVE = 0,  // our dot kernels; activations quantised to 8 bits for quantised weights
    MOE_PATH_BLAS = 1,    // float32 BLAS; other weight types are dequantised in panels that stay in cache
};

typedef struct moe_matmul_stats {
    int64_t weight_bytes;  // bytes of weights read (each task's weights counted once)
    int64_t products;      // rows times tasks
} moe_matmul_stats;

/// Runs all tasks; returns 0, or -1 when scratch memory cannot be had. stats may be NULL; fields are added to.
int32_t moe_matmul(moe_pool *pool, enum moe_matmul_path path, const moe_matmul_task *tasks, int32_t count,
                   moe_matmul_stats *stats);

/// The native path by the kernels of a named ISA (NULL: the best), without a change of what others use; also -1 when it is
/// not available here. For tests.
int32_t moe_matmul_isa(moe_pool *pool, const char *isa, const moe_matmul_task *tasks, int32_t count);

// ---------------------------------------------------------------------------------------------------------------------
// BLAS table: the linked library's symbols, or those of the library that was loaded by name.

typedef struct moe_blas_info {
    char vendor[64];       // "OpenBLAS", "BLIS", "MKL", "ATLAS", "netlib", "unknown"
    char version[192];     // what the library says of itself, or ""
    char path[1024];       // the shared object that holds sgemm, by dladdr
    char symbol[64];       // the symbol form that was found: "cblas_sgemm", "scipy_cblas_sgemm64_", …
    char threading[64];    // "pthread", "openmp", "serial", "unknown"
    int32_t threads;       // threads the library would use by itself now; 0 unknown
    bool loaded;           // true: by moe_blas_load; false: linked
    bool integers64;
} moe_blas_info;

/// Loads another BLAS by path or soname. Returns 0, or -1 with one line in error (what was tried, what was missing).
/// Call once, at start, before any product. Sets the library to one thread each (our pool splits the work).
int32_t moe_blas_load(const char *library, char *error, size_t error_size);
/// Describes the library in use.
void moe_blas_describe(moe_blas_info *info);
/// y[m, n] = x[m, k] * w[n, k]^T through the table, on the calling thread. For doctor and tests.
void moe_blas_sgemm_nt(int32_t m, int32_t n, int32_t k, const float *x, int64_t ldx, const float *w, int64_t ldw, float *y,
                       int64_t ldy);

// ---------------------------------------------------------------------------------------------------------------------
// Row operations. `rows` are split over the pool when there is enough work; each row's result is independent of the rest.

/// y = x / sqrt(mean(x^2) + eps) * weight, per row of d. x == y allowed. (Zhang and Sennrich 2019)
void moe_rms_norm(moe_pool *pool, const float *x, int64_t x_stride, const float *weight, float eps, float *y,
                  int64_t y_stride, int32_t rows, int32_t d);
/// out[i] = silu(gate[i]) * up[i]. out == gate or up allowed. (Shazeer 2020)
void moe_swiglu(moe_pool *pool, const float *gate, const float *up, float *out, int64_t count);
/// y[i] += x[i].
void moe_add(moe_pool *pool, float *y, const float *x, int64_t count);
/// Rotary embedding in place over heads of head_dim floats, the first rotary_dim of each rotated. x: [rows, heads, head_dim]
/// rows x_stride floats apart. cos, sin: [max_positions, rotary_dim/2]. neox: pairs (i, i + rotary_dim/2), else (2i, 2i+1).
void moe_rope(moe_pool *pool, float *x, int64_t x_stride, const int32_t *positions, const float *cos, const float *sin,
              int32_t rows, int32_t heads, int32_t head_dim, int32_t rotary_dim, bool neox);
/// In place softmax per row of n, max-subtracted, float32.
void moe_softmax(float *x, int64_t stride, int32_t rows, int32_t n);
/// Whether every value is a finite number.
bool moe_all_finite(const float *x, int64_t count);
/// The weighted scatter-add of the expert outputs, written as a gather so that the order of summation is fixed by the
/// token alone: out[t] (+)= sum over s in [offsets[t], offsets[t+1]) of weights[s] * expert_out[slots[s]].
/// A token without slots gets 0 (or stays, when accumulate).
void moe_combine(moe_pool *pool, const float *expert_out, const int32_t *offsets, const int32_t *slots,
                 const float *weights, float *out, int64_t out_stride, int32_t rows, int32_t d, bool accumulate);
/// out[t] += sigmoid(gate[t]) * x[t]; gate NULL means 1. The shared expert of Qwen2-MoE.
void moe_add_gated(moe_pool *pool, const float *gate, const float *x, float *out, int32_t rows, int32_t d);

// ---------------------------------------------------------------------------------------------------------------------
// Routers. All ISAs give the same bits, and a row's result depends on nothing but the row. `isa` is NULL; a name ("ref", …) is
// for tests: false, and nothing done, when it is not available here. `pool` may be NULL: the calling thread alone.
// Legend: n experts (one logit each), k experts per token, T rows (tokens).

/// For each row the `count` largest of n, descending, ties to the lower index: indices and values [rows, count].
/// NaN sorts last. count <= n.
bool moe_top_k(const char *isa, moe_pool *pool, const float *x, int64_t stride, int32_t rows, int32_t n, int32_t count,
               int32_t *indices, float *values);
/// norms[T]: the Euclidean norm of each row of d.
bool moe_row_norms(const char *isa, moe_pool *pool, const float *x, int64_t stride, int32_t rows, int32_t d, float *norms);
/// products[T]: each row of d times direction[d].
bool moe_row_products(const char *isa, moe_pool *pool, const float *x, int64_t stride, int32_t rows, int32_t d,
                      const float *direction, float *products);
/// bits[T]: the entropy of softmax(logits) of each row of n, in bits.
bool moe_router_entropy(const char *isa, moe_pool *pool, const float *logits, int64_t stride, int32_t rows, int32_t n,
                        float *bits);

/// The learned gate of one layer. Its features of a row, F = 3k + n + 4 of them: 1; log p, the cumulative mass and the log norm of
/// the k best by logit, where p = softmax(logits / temperature); entropy of p, log-sum-exp of the logits, log of the hidden norm;
/// the n logits less their mean. log p is at least -50.
typedef struct moe_learned_gate {
    const float *expert_log_norms;  // [n]
    const float *weights;           // [k - minimum, moe_gate_width(n, k)]: F each, then zeros
    const float *thresholds;        // [k - minimum]
    float temperature;
    int32_t n, k, minimum;          // 0 <= minimum <= k <= n, 1 <= k
} moe_learned_gate;

static inline int64_t moe_gate_features_count(int32_t n, int32_t k) { return 3 * (int64_t)k + n + 4; }
/// F rounded up to whole vectors.
static inline int64_t moe_gate_width(int32_t n, int32_t k) { return (moe_gate_features_count(n, k) + 15) / 16 * 16; }
/// Floats that moe_gate_counts needs for each thread of the pool, or for the calling one: the features of a block of rows.
static inline int64_t moe_gate_scratch(int32_t n, int32_t k) { return 16 * moe_gate_width(n, k); }

/// features[T, F], rows features_stride apart, of logits[T, n] and the routers' input's norms[T]. The gate needs no weights.
bool moe_gate_features(const char *isa, moe_pool *pool, const moe_learned_gate *gate, const float *logits, int64_t stride,
                       const float *norms, int32_t rows, float *features, int64_t features_stride);
/// counts[T]: `minimum`, and one more as long as the next head's product with the features, plus offsets[T] (NULL: 0), is above
/// its threshold, up to k.
/// scratch: moe_gate_scratch(n, k) floats for each thread of the pool.
bool moe_gate_counts(const char *isa, moe_pool *pool, const moe_learned_gate *gate, const float *logits, int64_t stride,
                     const float *norms, const float *offsets, int32_t rows, float *scratch, int32_t *counts);
/// counts[T]: the shortest prefix of ranked[T, limit] that holds p of the mass of scores[T, n], at least `minimum`. The mass of a
/// score is its power of 1 / temperature; scores below 0 have none.
bool moe_top_p_counts(const char *isa, moe_pool *pool, const float *scores, int64_t stride, int32_t n, const float *ranked,
                      int64_t ranked_stride, int32_t limit, int32_t rows, float temperature, float p, int32_t minimum,
                      int32_t *counts);

// ---------------------------------------------------------------------------------------------------------------------
// Paged KV cache and attention.
//
// One layer's K and V are two arrays of pages: [blocks, kv_heads] of them. A page holds what block_size positions have of one
// head, so that attention reads it as one run of memory: [block_size, head_dim] of F16 or F32, or of int8 (Q8_0), followed by
// their scales, [block_size, (head_dim + 31) / 32] of float16: element i of a row is q[i] * scale[i / 32].
// A sequence's position p lives in block block_table[p / block_size], slot p % block_size.

/// Bytes: of a page, of a row in it, from the page's start to its scales, and of a row's scales (Q8_0 only, else 0).
typedef struct moe_kv_layout {
    int64_t page_bytes, row_bytes, scales_at, scale_bytes;
} moe_kv_layout;

static inline moe_kv_layout moe_kv_layout_of(int32_t kv_type, int32_t block_size, int32_t head_dim) {
    moe_kv_layout layout = {0};
    layout.row_bytes = head_dim * (int64_t)(kv_type == MOE_TYPE_Q8_0 ? 1 : kv_type == MOE_TYPE_F16 ? 2 : 4);
    layout.scale_bytes = kv_type == MOE_TYPE_Q8_0 ? ((int64_t)head_dim + 31) / 32 * 2 : 0;
    // Scales are float16: an odd number of bytes before them is made even.
    layout.scales_at = (block_size * layout.row_bytes + 1) / 2 * 2;
    layout.page_bytes = layout.scales_at + block_size * layout.scale_bytes;
    return layout;
}

/// Writes `rows` new K and V rows (k, v: [rows, kv_heads * head_dim] float32) at positions[i] of the given block table. Q8_0: a
/// block with a value that is not finite reads as NaN.
void moe_kv_store(moe_pool *pool, int32_t kv_type, void *k_cache, void *v_cache, const float *k, int64_t k_stride,
                  const float *v, int64_t v_stride, const int32_t *positions, const int32_t *block_table, int32_t rows,
                  int32_t block_size, int32_t kv_heads, int32_t head_dim);

typedef struct moe_attention_task {  // one sequence's rows of this batch
    const float *q;                  // [rows, heads * head_dim], rows q_stride apart
    float *out;                      // [rows, heads * head_dim], rows out_stride apart
    const int32_t *block_table;
    int64_t q_stride, out_stride;
    int32_t rows;
    int32_t first_position;          // of row 0; row i sees positions 0...first_position + i
} moe_attention_task;

typedef struct moe_attention_shape {
    const void *k_cache, *v_cache;   // of this layer
    float scale;                     // usually 1 / sqrt(head_dim)
    int32_t kv_type, block_size, heads, kv_heads, head_dim;
    int32_t window;                  // 0: none; else a row sees only the last `window` positions, itself included
} moe_attention_shape;

/// Causal grouped-query attention over the paged cache with an online softmax; all sequences of the batch in one call.
/// A row's result does not depend on how many rows or sequences the call holds. Returns 0, or -1 when scratch memory cannot be had.
int32_t moe_attention(moe_pool *pool, const moe_attention_shape *shape, const moe_attention_task *tasks, int32_t count);
/// The same by the kernel of a named ISA (NULL: the best), without a change of what others use; also -1 when it is not available
/// here. For tests.
int32_t moe_attention_isa(moe_pool *pool, const char *isa, const moe_attention_shape *shape, const moe_attention_task *tasks,
                          int32_t count);

// ---------------------------------------------------------------------------------------------------------------------
// Sums for calibration, on the calling thread.

/// gram[i * count + j] = <rows[i], rows[j]>, all of [count, count]; each row has width floats. The order of summation is fixed.
void moe_gram(const float *const *rows, int32_t count, int32_t width, double *gram);
/// sum[i * columns + j] += x[i] * y[j]: x [rows], y [columns].
void moe_add_outer(double *sum, const double *x, const double *y, int32_t rows, int32_t columns);

// ---------------------------------------------------------------------------------------------------------------------
// Probes for doctor.

/// GB/s of a read over `bytes` of memory by all workers of the pool (median of `repetitions`).
double moe_probe_bandwidth(moe_pool *pool, size_t bytes, int32_t repetitions);
/// Billions of int8 operations per second (a product and a sum are two) in registers by all workers (median of `repetitions`).
double moe_probe_int8(moe_pool *pool, int32_t repetitions);
/// The instruction set that moe_probe_int8 uses: "avx512vnni", "avxvnni", "avx2", "i8mm", "dotprod", "neon", "plain".
const char *moe_probe_int8_name(void);

#ifdef __cplusplus
}
#endif
#endif
