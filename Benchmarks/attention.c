// SPDX-License-Identifier: Apache-2.0
//
// How fast attention reads the cache at decode, and computes at prefill, next to what memory and BLAS reach in the same run.
// The three are measured in turns, and medians of the ratios are what counts: absolute figures of a shared machine do not.
// Tools/bench_attention.sh builds and runs it.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "CMoEKernels.h"

typedef struct shape {
    const char *name;
    int32_t heads, kv_heads, head_dim;
} shape;

static const shape shapes[] = {{"olmoe", 16, 16, 128}, {"qwen3-30b", 32, 4, 128}, {"mixtral", 32, 8, 128}, {"demo", 4, 2, 64}};
enum { SHAPES = sizeof shapes / sizeof *shapes, BLOCK = 32, MOST = 101 };

static int32_t threads;
/// One thread is measured by the time that it had a core, which other processes do not lengthen.
static double now(void) {
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

/// Whether a case is wanted: "decode olmoe f16 8192" holds the filter.
static const char *filter;
static const char *type_name(int32_t type) { return type == MOE_TYPE_F16 ? "f16" : type == MOE_TYPE_F32 ? "f32" : "q8_0"; }
static bool wanted(const char *what, const shape *s, int32_t type, int32_t context) {
    char name[100];
    snprintf(name, sizeof name, "%s %s %s %d", what, s->name, type_name(type), context);
    return strstr(name, filter) != NULL;
}

static uint32_t state = 1;
static float random_float(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1;
}
static float *random_floats(size_t n) {
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64);
    for (size_t i = 0; i < n; i++) x[i] = random_float();
    return x;
}

static void *reserve(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) exit(1);
    return memory;
}

// Memory is read by sixteen lanes of words: what no kernel beats.
enum { PROBE_BYTES = 128 << 20, PROBE_PIECE = 1 << 20 };
typedef struct probe {
    const uint64_t *words;
    _Atomic int64_t next;
    _Atomic uint64_t result;
} probe;

static void read_pieces(void *context, int32_t worker, int32_t workers) {
    (void)worker, (void)workers;
    probe *p = context;
    uint64_t lanes[16] = {0};
    for (int64_t piece; (piece = p->next++) < PROBE_BYTES / PROBE_PIECE;) {
        const uint64_t *words = p->words + piece * (PROBE_PIECE / 8);
        for (int64_t i = 0; i < PROBE_PIECE / 8; i += 16) {
            for (int j = 0; j < 16; j++) lanes[j] ^= words[i + j];
        }
    }
    for (int j = 0; j < 16; j++) p->result ^= lanes[j];
}

/// GB/s
static double bandwidth(moe_pool *pool) {
    static probe p;
    if (p.words == NULL) {
        void *memory = reserve(PROBE_BYTES);
        memset(memory, 1, PROBE_BYTES);
        p.words = memory;
    }
    p.next = 0;
    const double start = now();
    moe_pool_run(pool, read_pieces, &p);
    return PROBE_BYTES / (now() - start) / 1e9;
}

/// Blocks of one layer's keys, or values.
static size_t cache_bytes(int32_t type, const shape *s, int32_t blocks) {
    return (size_t)(moe_kv_layout_of(type, BLOCK, s->head_dim).page_bytes * blocks * s->kv_heads);
}

/// One layer's cache, `context` positions filled.
typedef struct layer {
    void *k, *v;
} layer;

static moe_attention_shape shape_of(const shape *s, int32_t type, layer cache) {
    return (moe_attention_shape){
        .k_cache = cache.k, .v_cache = cache.v, .scale = 0.088f, .kv_type = type, .block_size = BLOCK, .heads = s->heads,
        .kv_heads = s->kv_heads, .head_dim = s->head_dim};
}

static layer fill(moe_pool *pool, int32_t type, const shape *s, int32_t context, const float *rows, const int32_t *positions,
                  const int32_t *table) {
    const int32_t blocks = (context + BLOCK - 1) / BLOCK;
    const int64_t width = (int64_t)s->kv_heads * s->head_dim;
    const layer result = {reserve(cache_bytes(type, s, blocks)), reserve(cache_bytes(type, s, blocks))};
    for (int32_t p = 0; p < context; p += 64) {
        const int32_t n = context - p < 64 ? context - p : 64;
        moe_kv_store(pool, type, result.k, result.v, rows, width, rows + 7, width, positions + p, table, n, BLOCK, s->kv_heads,
                     s->head_dim);
    }
    return result;
}

static void decode(moe_pool *pool, const shape *s, int32_t type, int32_t context, int repetitions) {
    if (!wanted("decode", s, type, context)) return;
    const int32_t blocks = (context + BLOCK - 1) / BLOCK;
    const int64_t width = (int64_t)s->heads * s->head_dim;
    const size_t bytes = 2 * cache_bytes(type, s, blocks);
    int32_t layers = (int32_t)((128u << 20) / bytes);
    layers = layers < 1 ? 1 : layers > 64 ? 64 : layers;
    float *rows = random_floats((size_t)64 * s->kv_heads * s->head_dim + 7);
    float *q = random_floats((size_t)width), *out = random_floats((size_t)width);
    int32_t *table = malloc((size_t)blocks * sizeof *table), *positions = malloc((size_t)context * sizeof *positions);
    for (int32_t i = 0; i < blocks; i++) table[i] = i;
    for (int32_t i = 0; i < context; i++) positions[i] = i;
    layer *caches = malloc((size_t)layers * sizeof *caches);
    for (int32_t l = 0; l < layers; l++) caches[l] = fill(pool, type, s, context, rows, positions, table);

    double ratio[MOST], speed[MOST];
    for (int r = -1; r < repetitions; r++) {
        const double start = now();
        for (int32_t l = 0; l < layers; l++) {
            const moe_attention_shape a = shape_of(s, type, caches[l]);
            const moe_attention_task task = {q, out, table, width, width, 1, context - 1};
            moe_attention(pool, &a, &task, 1);
        }
        const double seconds = now() - start, limit = bandwidth(pool);
        if (r < 0) continue;
        speed[r] = (double)bytes * layers / seconds / 1e9;
        ratio[r] = speed[r] / limit;
    }
    printf("decode  %-10s %-4s context %5d   %6.1f GB/s   %5.2f of the probe   %7.1f us a layer\n", s->name,
           type_name(type), context, median(speed, repetitions),
           median(ratio, repetitions), (double)bytes / median(speed, repetitions) / 1e3);
    for (int32_t l = 0; l < layers; l++) {
        munmap(caches[l].k, bytes / 2);
        munmap(caches[l].v, bytes / 2);
    }
    free(rows), free(q), free(out), free(table), free(positions), free(caches);
}

/// The last `rows` rows of a prompt of `context`.
static void prefill(moe_pool *pool, const shape *s, int32_t type, int32_t context, int32_t rows, int repetitions) {
    if (!wanted("prefill", s, type, context)) return;
    const int32_t blocks = (context + BLOCK - 1) / BLOCK;
    const int64_t width = (int64_t)s->heads * s->head_dim;
    float *source = random_floats((size_t)64 * s->kv_heads * s->head_dim + 7);
    float *q = random_floats((size_t)(rows * width)), *out = random_floats((size_t)(rows * width));
    int32_t *table = malloc((size_t)blocks * sizeof *table), *positions = malloc((size_t)context * sizeof *positions);
    for (int32_t i = 0; i < blocks; i++) table[i] = i;
    for (int32_t i = 0; i < context; i++) positions[i] = i;
    const layer cache = fill(pool, type, s, context, source, positions, table);
    enum { N = 1024 };
    float *a = random_floats(512 * N), *b = random_floats(N * N), *c = random_floats(512 * N);
    const moe_matmul_task product = {
        .weights = b, .input = a, .output = c, .row_bytes = N * 4, .input_stride = N, .output_stride = N,
        .weight_type = MOE_TYPE_F32, .m = 512, .n = N, .k = N};

    double ratio[MOST], speed[MOST];
    double operations = 0;
    for (int32_t i = 0; i < rows; i++) operations += 4.0 * s->heads * s->head_dim * (context - rows + i + 1);
    for (int r = -1; r < repetitions; r++) {
        const double start = now();
        const moe_attention_shape shape = shape_of(s, type, cache);
        const moe_attention_task task = {q, out, table, width, width, rows, context - rows};
        moe_attention(pool, &shape, &task, 1);
        const double middle = now();
        for (int i = 0; i < 8; i++) moe_matmul(pool, MOE_PATH_BLAS, &product, 1, NULL);
        const double end = now();
        if (r < 0) continue;
        speed[r] = operations / (middle - start) / 1e9;
        ratio[r] = speed[r] / (8 * 2.0 * 512 * N * N / (end - middle) / 1e9);
    }
    printf("prefill %-10s %-4s context %5d   %6.1f GFLOP/s   %5.2f of sgemm   %7.1f us a row\n", s->name,
           type_name(type), context, median(speed, repetitions),
           median(ratio, repetitions), operations / rows / median(speed, repetitions) / 1e3);
    munmap(cache.k, cache_bytes(type, s, blocks));
    munmap(cache.v, cache_bytes(type, s, blocks));
    free(source), free(q), free(out), free(table), free(positions), free(a), free(b), free(c);
}

int main(int count, char **arguments) {
    filter = count > 3 ? arguments[3] : "";
    threads = count > 1 ? atoi(arguments[1]) : 2;
    int repetitions = count > 2 ? atoi(arguments[2]) : 7;
    repetitions = repetitions < 1 ? 1 : repetitions > MOST ? MOST : repetitions;
    moe_pool *pool = moe_pool_create(threads);
    if (pool == NULL) return 1;
    const int32_t types[] = {MOE_TYPE_F16, MOE_TYPE_Q8_0};
    const int32_t contexts[] = {512, 4096, 8192};
    printf("%d threads, kernels %s\n", threads, moe_kernel_name(MOE_TYPE_F16));
    for (size_t i = 0; i < SHAPES; i++) {
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            for (size_t c = 0; c < 3; c++) decode(pool, &shapes[i], types[t], contexts[c], repetitions);
        }
    }
    for (size_t i = 0; i < SHAPES; i++) {
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            prefill(pool, &shapes[i], types[t], 512, 512, repetitions);
            prefill(pool, &shapes[i], types[t], 8192, 128, repetitions);
        }
    }
    moe_pool_destroy(pool);
    return 0;
}
