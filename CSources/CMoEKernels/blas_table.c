// SPDX-License-Identifier: Apache-2.0
//
// Which BLAS computes: the linked library, or one that was loaded by name. Three traps decide the shape of this file.
//
// 1. A loaded library must call its own inner functions. netlib's and BLIS's cblas_sgemm call `sgemm_`, which the dynamic
//    linker would bind to the OpenBLAS that is linked: a swap that reports success and does nothing. Hence RTLD_DEEPBIND.
//    The sanitizers' run-times refuse it, so under them this cannot be had.
// 2. Whatever else is asked of a library (threads, version) is looked up in the object that holds its sgemm, by dladdr, not
//    in the process at large, where another BLAS may answer.
// 3. Symbols have many forms: plain, `scipy_` (PyPI's OpenBLAS), with `64_` or `_64` for 64-bit integers, which is another
//    call signature. After loading, a small product is compared with plain loops, so that a wrong guess cannot go unnoticed.
//
// One thread: OpenMP keeps the number of threads per calling thread, so an OpenMP library is told by every worker anew.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "blas_table.h"

#include <cblas.h>
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MOE_SANITIZER 1
#endif
#endif
#if defined(MOE_SANITIZER) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(RTLD_DEEPBIND)
enum { DLOPEN_FLAGS = RTLD_NOW | RTLD_LOCAL };
#else
enum { DLOPEN_FLAGS = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND };
#endif

// CBLAS enumerations, passed as int by every library.
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };

typedef void (*sgemm32)(int order, int ta, int tb, int32_t m, int32_t n, int32_t k, float alpha, const float *a, int32_t lda,
                        const float *b, int32_t ldb, float beta, float *c, int32_t ldc);
typedef void (*sgemm64)(int order, int ta, int tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                        const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
typedef void (*sgemv32)(int order, int ta, int32_t m, int32_t n, float alpha, const float *a, int32_t lda, const float *x,
                        int32_t incx, float beta, float *y, int32_t incy);
typedef void (*sgemv64)(int order, int ta, int64_t m, int64_t n, float alpha, const float *a, int64_t lda, const float *x,
                        int64_t incx, float beta, float *y, int64_t incy);

/// How a library spells its symbols: prefix + name + suffix.
typedef struct symbol_form {
    const char *prefix, *suffix;
    bool integers64;
} symbol_form;

static const symbol_form forms[] = {
    {"", "", false}, {"scipy_", "", false}, {"scipy_", "64_", true}, {"", "64_", true}, {"", "_64", true},
};
enum { FORMS = sizeof forms / sizeof forms[0] };

typedef struct blas_table {
    void *sgemm, *sgemv;  // sgemv may be NULL
    moe_blas_info info;
    void *get_threads;    // int (void), or int64_t (void) for BLIS; NULL unknown
    bool threads64;
    void (*set_omp_threads)(int);  // of the OpenMP run-time that the library was built with; NULL: none
} blas_table;

static blas_table table;
/// The OpenMP run-time that the calling thread has told to use one thread.
static _Thread_local void (*omp_told)(int);
static pthread_once_t linked_once = PTHREAD_ONCE_INIT;

static void copy_text(char *target, size_t size, const char *source) { snprintf(target, size, "%s", source); }

static void *find(void *handle, const symbol_form *form, const char *name) {
    char symbol[96];
    snprintf(symbol, sizeof symbol, "%s%s%s", form->prefix, name, form->suffix);
    return dlsym(handle, symbol);
}

// ---------------------------------------------------------------------------------------------------------------------
// Vendors. Each sets one thread, and fills vendor, version and threading. Returns false when the library is not its own.

static bool is_openblas(blas_table *t, void *handle, const symbol_form *form) {
    char *(*config)(void) = (char *(*)(void))find(handle, form, "openblas_get_config");
    if (config == NULL) return false;
    copy_text(t->info.vendor, sizeof t->info.vendor, "OpenBLAS");
    copy_text(t->info.version, sizeof t->info.version, config());
    if (strstr(t->info.version, "USE64BITINT") != NULL) t->info.integers64 = true;
    char *(*core)(void) = (char *(*)(void))find(handle, form, "openblas_get_corename");
    if (core != NULL && strstr(t->info.version, core()) == NULL) {
        const size_t used = strlen(t->info.version);
        snprintf(t->info.version + used, sizeof t->info.version - used, " %s", core());
    }

    int (*parallel)(void) = (int (*)(void))find(handle, form, "openblas_get_parallel");
    if (parallel != NULL) {
        const int kind = parallel();
        copy_text(t->info.threading, sizeof t->info.threading, kind == 2 ? "openmp" : kind == 1 ? "pthread" : "serial");
    }
    void (*set)(int) = (void (*)(int))find(handle, form, "openblas_set_num_threads");
    if (set != NULL) set(1);
    t->get_threads = find(handle, form, "openblas_get_num_threads");
    return true;
}

static bool is_blis(blas_table *t, void *handle) {
    const char *(*version)(void) = (const char *(*)(void))dlsym(handle, "bli_info_get_version_str");
    if (version == NULL) return false;
    copy_text(t->info.vendor, sizeof t->info.vendor, "BLIS");
    copy_text(t->info.version, sizeof t->info.version, version());

    int64_t (*integer_bits)(void) = (int64_t (*)(void))dlsym(handle, "bli_info_get_blas_int_type_size");
    if (integer_bits != NULL) t->info.integers64 = integer_bits() == 64;
    int64_t (*openmp)(void) = (int64_t (*)(void))dlsym(handle, "bli_info_get_enable_openmp");
    int64_t (*pthreads)(void) = (int64_t (*)(void))dlsym(handle, "bli_info_get_enable_pthreads");
    if (openmp != NULL && pthreads != NULL) {
        copy_text(t->info.threading, sizeof t->info.threading, openmp() ? "openmp" : pthreads() ? "pthread" : "serial");
    }
    void (*set)(int64_t) = (void (*)(int64_t))dlsym(handle, "bli_thread_set_num_threads");
    if (set != NULL) set(1);
    t->get_threads = dlsym(handle, "bli_thread_get_num_threads");
    t->threads64 = true;
    return true;
}

static bool is_mkl(blas_table *t, void *handle) {
    void (*version)(char *, int) = (void (*)(char *, int))dlsym(handle, "MKL_Get_Version_String");
    if (version == NULL) return false;
    // Before any other call. Otherwise MKL looks for Intel's OpenMP, which PyPI's package does not always come with, and
    // MKL_INTERFACE_LAYER may ask for 64-bit integers behind the plain symbols.
    int (*layer)(int) = (int (*)(int))dlsym(handle, "MKL_Set_Threading_Layer");
    int (*interface)(int) = (int (*)(int))dlsym(handle, "MKL_Set_Interface_Layer");
    enum { MKL_INTERFACE_LP64 = 0, MKL_THREADING_SEQUENTIAL = 1 };
    if (interface != NULL) interface(MKL_INTERFACE_LP64);
    if (layer != NULL) layer(MKL_THREADING_SEQUENTIAL);
    void (*set)(int) = (void (*)(int))dlsym(handle, "MKL_Set_Num_Threads");
    if (set != NULL) set(1);

    copy_text(t->info.vendor, sizeof t->info.vendor, "MKL");
    version(t->info.version, (int)sizeof t->info.version - 1);
    for (size_t end = strlen(t->info.version); end > 0 && t->info.version[end - 1] == ' '; end--) t->info.version[end - 1] = 0;
    copy_text(t->info.threading, sizeof t->info.threading, layer != NULL ? "serial" : "unknown");
    t->get_threads = dlsym(handle, "MKL_Get_Max_Threads");
    return true;
}

static bool is_atlas(blas_table *t, void *handle) {
    if (dlsym(handle, "ATL_sgemm") == NULL) return false;
    copy_text(t->info.vendor, sizeof t->info.vendor, "ATLAS");
    const bool threaded = dlsym(handle, "ATL_thread_start") != NULL;
    copy_text(t->info.threading, sizeof t->info.threading, threaded ? "pthread" : "serial");
    return true;
}

/// The reference implementation has nothing of its own to be known by, except what optimised libraries leave out or offer
/// besides: so it is asked for last.
static bool is_netlib(blas_table *t, void *handle) {
    if (dlsym(handle, "xerbla_array_") == NULL || dlsym(handle, "lsame_") == NULL) return false;
    copy_text(t->info.vendor, sizeof t->info.vendor, "netlib");
    copy_text(t->info.threading, sizeof t->info.threading, "serial");
    t->info.integers64 = strstr(t->info.path, "blas64") != NULL;
    return true;
}

/// Fills the table for the sgemm that was found in the spelling `form`.
static void describe_table(blas_table *t, void *sgemm, const symbol_form *form) {
    t->sgemm = sgemm;
    t->info.integers64 = form->integers64;
    copy_text(t->info.vendor, sizeof t->info.vendor, "unknown");
    copy_text(t->info.threading, sizeof t->info.threading, "unknown");
    snprintf(t->info.symbol, sizeof t->info.symbol, "%scblas_sgemm%s", form->prefix, form->suffix);

    Dl_info origin;
    void *object = NULL;
    if (dladdr(sgemm, &origin) != 0 && origin.dli_fname != NULL) {
        copy_text(t->info.path, sizeof t->info.path, origin.dli_fname);
        object = dlopen(origin.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    }
    if (object == NULL) object = dlopen(NULL, RTLD_LAZY);  // linked into the program itself
    t->sgemv = find(object, form, "cblas_sgemv");
    if (!is_openblas(t, object, form) && !is_blis(t, object) && !is_mkl(t, object) && !is_atlas(t, object)) {
        (void)is_netlib(t, object);
    }
    if (strcmp(t->info.threading, "openmp") == 0) t->set_omp_threads = (void (*)(int))dlsym(object, "omp_set_num_threads");
    // The object stays: a library in use is never unloaded.
}

static void find_linked(void) {
    // By name first: the address of a function in a position-dependent program may be its own jump table.
    void *sgemm = dlsym(RTLD_DEFAULT, "cblas_sgemm");
    if (sgemm == NULL) sgemm = (void *)cblas_sgemm;
    describe_table(&table, sgemm, &forms[0]);
}

void moe_blas_prepare(void) { pthread_once(&linked_once, find_linked); }

// ---------------------------------------------------------------------------------------------------------------------

static void product(const blas_table *t, int32_t m, int32_t n, int32_t k, const float *x, int64_t ldx, const float *w,
                    int64_t ldw, float *y, int64_t ldy) {
    if (t->set_omp_threads != omp_told) {
        if (t->set_omp_threads != NULL) t->set_omp_threads(1);
        omp_told = t->set_omp_threads;
    }
    if (m == 1 && t->sgemv != NULL) {
        if (t->info.integers64) ((sgemv64)t->sgemv)(ROW_MAJOR, NO_TRANSPOSE, n, k, 1, w, ldw, x, 1, 0, y, 1);
        else ((sgemv32)t->sgemv)(ROW_MAJOR, NO_TRANSPOSE, n, k, 1, w, (int32_t)ldw, x, 1, 0, y, 1);
    } else if (t->info.integers64) {
        ((sgemm64)t->sgemm)(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, m, n, k, 1, x, ldx, w, ldw, 0, y, ldy);
    } else {
        ((sgemm32)t->sgemm)(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, m, n, k, 1, x, (int32_t)ldx, w, (int32_t)ldw, 0, y,
                            (int32_t)ldy);
    }
}

void moe_blas_product(int32_t m, int32_t n, int32_t k, const float *x, int64_t ldx, const float *w, int64_t ldw, float *y,
                      int64_t ldy) {
    product(&table, m, n, k, x, ldx, w, ldw, y, ldy);
}

/// Whether the library computes what it should: whole numbers, so the comparison is exact. m rows; 1 tests sgemv.
static bool computes(const blas_table *t, int32_t m) {
    enum { M = 3, N = 5, K = 7, LDX = 9, LDW = 8, LDY = 6 };
    float x[M * LDX], w[N * LDW], y[M * LDY];
    for (int i = 0; i < M * LDX; i++) x[i] = (float)(i % 11 - 5);
    for (int i = 0; i < N * LDW; i++) w[i] = (float)(i % 7 - 2);
    for (int i = 0; i < M * LDY; i++) y[i] = NAN;
    product(t, m, N, K, x, LDX, w, LDW, y, LDY);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < N; j++) {
            float sum = 0;
            for (int p = 0; p < K; p++) sum += x[i * LDX + p] * w[j * LDW + p];
            if (y[i * LDY + j] != sum) return false;
        }
        if (!isnan(y[i * LDY + N])) return false;
    }
    return true;
}

int32_t moe_blas_load(const char *library, char *error, size_t error_size) {
    moe_blas_prepare();
    void *handle = dlopen(library, DLOPEN_FLAGS);
    if (handle == NULL) {
        const char *reason = dlerror();
        snprintf(error, error_size, "BLAS library '%s' cannot be loaded: %s", library, reason != NULL ? reason : "unknown");
        return -1;
    }
    blas_table loaded;
    memset(&loaded, 0, sizeof loaded);
    for (int i = 0; i < FORMS && loaded.sgemm == NULL; i++) {
        void *sgemm = find(handle, &forms[i], "cblas_sgemm");
        if (sgemm != NULL) describe_table(&loaded, sgemm, &forms[i]);
    }
    if (loaded.sgemm == NULL) {
        dlclose(handle);
        snprintf(error, error_size, "'%s' is no BLAS library: it has none of cblas_sgemm, scipy_cblas_sgemm, "
                 "scipy_cblas_sgemm64_, cblas_sgemm64_, cblas_sgemm_64", library);
        return -1;
    }
    if (!computes(&loaded, 3) || !computes(&loaded, 1)) {
        snprintf(error, error_size, "BLAS library '%s' computes wrong products by %s", library, loaded.info.symbol);
        return -1;  // not closed: it may have started threads
    }
    loaded.info.loaded = true;
    table = loaded;
    return 0;
}

void moe_blas_describe(moe_blas_info *info) {
    moe_blas_prepare();
    *info = table.info;
    if (table.get_threads == NULL) return;
    if (table.set_omp_threads != NULL) table.set_omp_threads(1);
    info->threads = table.threads64 ? (int32_t)((int64_t (*)(void))table.get_threads)()
                                    : ((int (*)(void))table.get_threads)();
}

void moe_blas_sgemm_nt(int32_t m, int32_t n, int32_t k, const float *x, int64_t ldx, const float *w, int64_t ldw, float *y,
                       int64_t ldy) {
    if (m < 1 || n < 1) return;
    moe_blas_prepare();
    moe_blas_product(m, n, k, x, ldx, w, ldw, y, ldy);
}
