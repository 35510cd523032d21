// SPDX-License-Identifier: Apache-2.0
//
// The loops of the router's kernels, included once per ISA under its target attribute. The includer defines, before:
//   uint32_t lane_bits(ints)     bit i: whether lane i is negative
//   NAME                         the table's name
// after including "router_lanes.h".
//
// Everything is computed in 16 lanes, which the compiler makes of one, two or four registers, and nothing is contracted to
// fma, so that every ISA gives the same bits. Order of a sum over a row: element i adds to lane i % 16, and the lanes are added
// as moe_fold does: l[i] + l[i + 8], then ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)).

#include "router_kernels.h"

enum {
    // Rows of at most so many are ranked whole; of longer ones only what may be among the best.
    RANKED_WHOLE = 32,
    MOST_CANDIDATES = 48,
};

// ---------------------------------------------------------------------------------------------------------------------
// The k best

/// Of an element of a row. It may stand where floats come later.
typedef int32_t slot __attribute__((may_alias));

/// Whether a ranks before b. Equal numbers do not: the one that came first stays first.
static bool ranks_before(float a, float b) { return a > b || (a == a && b != b); }

/// For any n and k: the first `k` places of a descending insertion sort.
static void insert_k(const float *x, int32_t n, int32_t k, slot *indices) {
    int32_t filled = 0;
    for (int32_t i = 0; i < n; i++) {
        if (filled == k && !ranks_before(x[i], x[indices[k - 1]])) continue;
        int32_t place = filled < k ? filled++ : k - 1;
        for (; place > 0 && ranks_before(x[i], x[indices[place - 1]]); place--) indices[place] = indices[place - 1];
        indices[place] = i;
    }
}

/// Floats as integers of the same order; NaN is the smallest, and -0 equals 0.
INLINE ints sort_keys(lanes x) {
    const ints bits = (ints)(x + 0.0f);
    const ints keys = bits ^ ((bits >> 31) & INT32_MAX);
    return select_ints(x == x, keys, splat_int(INT32_MIN));
}

/// How many of keys[count] rank before each, for `vectors` vectors of them: the larger, and the equal that come first.
INLINE void rank_all(const int32_t *keys, int32_t count, const int32_t vectors, int32_t *ranks) {
    ints own[MOST_CANDIDATES / 16], rank[MOST_CANDIDATES / 16];
#pragma clang loop unroll(full)
    for (int32_t v = 0; v < vectors; v++) {
        own[v] = load_ints(keys + 16 * v);
        rank[v] = splat_int(0);
    }
    for (int32_t j = 0; j < count; j++) {
        const ints other = splat_int(keys[j]);
#pragma clang loop unroll(full)
        for (int32_t v = 0; v < vectors; v++) {
            rank[v] -= (other > own[v]) | ((other == own[v]) & (splat_int(j - 16 * v) < lane_numbers()));
        }
    }
#pragma clang loop unroll(full)
    for (int32_t v = 0; v < vectors; v++) memcpy(ranks + 16 * v, &rank[v], sizeof rank[v]);
}

/// The k-th largest of 16 keys, k <= 16.
INLINE int32_t kth_of_lanes(ints keys, int32_t k) {
    int32_t all[16], ranks[16];
    memcpy(all, &keys, sizeof all);
    rank_all(all, 16, 1, ranks);
    int32_t found = INT32_MIN;
    for (int32_t i = 0; i < 16; i++) found = ranks[i] == k - 1 ? all[i] : found;
    return found;
}

/// indices[k] of the k best of x[n]. k <= n.
INLINE void best_indices(const float *x, int32_t n, int32_t k, slot *indices) {
    int32_t keys[MOST_CANDIDATES + 16], candidates[MOST_CANDIDATES + 16], ranks[MOST_CANDIDATES];
    int32_t count = 0;
    if (n <= RANKED_WHOLE) {
        for (int32_t i = 0; i < n; i += 16) {
            const ints block = sort_keys(load_part(x + i, n - i, 0));
            memcpy(keys + i, &block, sizeof block);
        }
        count = n;
    } else {
        // The k-th largest of the lanes' maxima: at least k elements are not below it, and few more.
        if (k > 16) {
            insert_k(x, n, k, indices);
            return;
        }
        ints top = splat_int(INT32_MIN);
        int32_t i = 0;
        for (; i + 16 <= n; i += 16) top = max_ints(top, sort_keys(load(x + i)));
        if (i < n) top = max_ints(top, select_ints(first_lanes(n - i), sort_keys(load_part(x + i, n - i, 0)), top));
        const ints least = splat_int(kth_of_lanes(top, k));
        for (i = 0; i < n; i += 16) {
            const ints block = sort_keys(load_part(x + i, n - i, 0));
            uint32_t passes = lane_bits((block >= least) & first_lanes(n - i));
            if (count + __builtin_popcount(passes) > MOST_CANDIDATES) {
                insert_k(x, n, k, indices);
                return;
            }
            int32_t block_keys[16];
            memcpy(block_keys, &block, sizeof block);
            for (; passes != 0; passes &= passes - 1) {
                const int32_t lane = __builtin_ctz(passes);
                keys[count] = block_keys[lane];
                candidates[count++] = i + lane;
            }
        }
    }
    // What stands behind the last candidate ranks behind it, as NaN of a higher index.
    for (int32_t i = count; i < (count + 15) / 16 * 16; i++) keys[i] = INT32_MIN;
    if (count == 16) rank_all(keys, 16, 1, ranks);
    else if (count < 16) rank_all(keys, count, 1, ranks);
    else if (count <= 32) rank_all(keys, count, 2, ranks);
    else rank_all(keys, count, 3, ranks);
    // All are put in order, not the k best only: which these are cannot be foreseen, and a wrong guess costs more than a store.
    int32_t ordered[MOST_CANDIDATES];
    if (n <= RANKED_WHOLE) {
        for (int32_t i = 0; i < count; i++) ordered[ranks[i]] = i;
    } else {
        for (int32_t i = 0; i < count; i++) ordered[ranks[i]] = candidates[i];
    }
    for (int32_t rank = 0; rank < k; rank++) indices[rank] = ordered[rank];
}

static void top_k(const float *x, int32_t n, int32_t k, int32_t *indices, float *values) {
    best_indices(x, n, k, indices);
    if (values != NULL) {
        for (int32_t rank = 0; rank < k; rank++) values[rank] = x[indices[rank]];
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Sums over a row

/// Four chains, so that the additions do not wait for one another; chain j takes the vectors j, j + 4, …
static float product(const float *x, const float *y, int32_t d) {
    lanes sum[4] = {splat(0), splat(0), splat(0), splat(0)};
    int32_t i = 0;
    for (; i + 64 <= d; i += 64) {
#pragma clang loop unroll(full)
        for (int32_t j = 0; j < 4; j++) sum[j] += load(x + i + 16 * j) * load(y + i + 16 * j);
    }
    for (int32_t j = 0; i < d; i += 16, j++) sum[j] += load_part(x + i, d - i, 0) * load_part(y + i, d - i, 0);
    return fold((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static float norm(const float *x, int32_t d) { return sqrtf(product(x, x, d)); }

/// Sums of w, w·s and, for another temperature than 1, e^(x - top), where s = (x - top) / T and w = e^s.
typedef struct softmax_sums {
    float total, weighted, plain;
} softmax_sums;

INLINE softmax_sums sum_exponentials(const float *x, int32_t n, float top, float inverse) {
    lanes total = splat(0), weighted = splat(0), plain = splat(0);
    for (int32_t i = 0; i < n; i += 16) {
        const ints there = first_lanes(n - i);
        const lanes distance = load_part(x + i, n - i, top) - top, scaled = distance * inverse;
        const lanes w = keep(there, exp_lanes(scaled));
        total += w;
        // A logit of -infinity has no share: 0 times infinity would be no number.
        weighted += keep(w > 0, w * scaled);
        if (inverse != 1) plain += keep(there, exp_lanes(distance));
    }
    softmax_sums sums = {fold(total), fold(weighted), 0};
    sums.plain = inverse != 1 ? fold(plain) : sums.total;
    return sums;
}

static void entropy(const float *x, int64_t stride, int32_t rows, int32_t n, float *bits) {
    float total[16] = {0}, weighted[16] = {0}, result[16];
    for (int32_t r = 0; r < rows; r++, x += stride) {
        lanes top = load_part(x, n, x[0]);
        for (int32_t i = 16; i < n; i += 16) {
            const lanes v = load_part(x + i, n - i, x[0]);
            top = select_lanes(v > top, v, top);
        }
        const softmax_sums sums = sum_exponentials(x, n, largest_lane(top), 1);
        total[r] = sums.total;
        weighted[r] = sums.weighted;
    }
    // H = log Z - sum w s / Z
    const lanes z = load(total);
    store(result, (log_lanes(z) - load(weighted) / z) * 0x1.715476p+0f);
    for (int32_t r = 0; r < rows; r++) bits[r] = result[r];
}

// ---------------------------------------------------------------------------------------------------------------------
// The learned gate

/// Where the parts of a row's features begin.
typedef struct feature_row {
    float *log_p, *mass, *norms, *scalars, *centred;
} feature_row;

INLINE feature_row parts_of(const moe_learned_gate *gate, float *f) {
    const int64_t k = gate->k;
    return (feature_row){f + 1, f + 1 + k, f + 1 + 2 * k, f + 1 + 3 * k, f + 4 + 3 * k};
}

/// The ranking's indices wait where the masses come, rank by rank.
INLINE slot *ranking_of(feature_row f) { return (slot *)(void *)f.mass; }

/// Ranks a row and writes what needs no logarithm.
INLINE softmax_sums begin_row(const moe_learned_gate *gate, const float *x, float inverse, feature_row f) {
    const int32_t n = gate->n;
    best_indices(x, n, gate->k, ranking_of(f));
    lanes sum = splat(0);
    for (int32_t i = 0; i < n; i += 16) sum += load_part(x + i, n - i, 0);
    const float mean = fold(sum) / (float)n;
    int32_t at = 0;
    for (; at + 16 <= n; at += 16) store(f.centred + at, load(x + at) - mean);
    for (; at < n; at++) f.centred[at] = x[at] - mean;
    return sum_exponentials(x, n, x[ranking_of(f)[0]], inverse);
}

/// log p, mass and norms of the k best.
INLINE void finish_row(const moe_learned_gate *gate, const float *x, float inverse, float log_total, feature_row f) {
    const slot *ranking = ranking_of(f);
    const int32_t k = gate->k;
    const float top = x[ranking[0]];
    float cumulative = 0;
    for (int32_t first = 0; first < k; first += 16) {
        const int32_t count = k - first < 16 ? k - first : 16;
        float logits[16], exponentials[16];
        for (int32_t rank = 0; rank < 16; rank++) logits[rank] = rank < count ? x[ranking[first + rank]] : top;
        lanes value = (load(logits) - top) * inverse - log_total;
        value = select_lanes(value < -50, splat(-50), value);
        store(logits, value);
        store(exponentials, exp_lanes(value));
        for (int32_t rank = 0; rank < count; rank++) {
            const int32_t place = first + rank;
            f.norms[place] = gate->expert_log_norms[ranking[place]];
            f.log_p[place] = logits[rank];
            cumulative += exponentials[rank];
            f.mass[place] = cumulative;
        }
    }
}

static void features(const moe_learned_gate *gate, const float *x, int64_t stride, const float *norms, int32_t rows, float *f,
                     int64_t f_stride) {
    const float inverse = 1 / gate->temperature;
    float total[16], weighted[16], plain[16], length[16], log_total[16];
    for (int32_t r = 0; r < 16; r++) total[r] = weighted[r] = plain[r] = length[r] = 1;
    for (int32_t r = 0; r < rows; r++) {
        const softmax_sums sums = begin_row(gate, x + r * stride, inverse, parts_of(gate, f + r * f_stride));
        total[r] = sums.total;
        weighted[r] = sums.weighted;
        plain[r] = sums.plain;
        length[r] = norms[r] < 1e-20f ? 1e-20f : norms[r];
    }
    const lanes log_z = log_lanes(load(total));
    store(log_total, log_z);
    store(weighted, log_z - load(weighted) / load(total));
    store(plain, inverse != 1 ? log_lanes(load(plain)) : log_z);
    store(length, log_lanes(load(length)));
    for (int32_t r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        const feature_row parts = parts_of(gate, f + r * f_stride);
        f[r * f_stride] = 1;
        parts.scalars[0] = weighted[r];
        parts.scalars[1] = plain[r] + row[ranking_of(parts)[0]];
        parts.scalars[2] = length[r];
        finish_row(gate, row, inverse, log_total[r], parts);
    }
}

static int32_t heads(const moe_learned_gate *gate, const float *f, float offset) {
    const int64_t width = moe_gate_width(gate->n, gate->k);
    int32_t count = gate->minimum;
    for (const float *w = gate->weights; count < gate->k; w += width, count++) {
        lanes sum = splat(0);
        for (int64_t i = 0; i < width; i += 16) sum += load(w + i) * load(f + i);
        // A gain that is not a number buys nothing.
        if (!(fold(sum) + offset > gate->thresholds[count - gate->minimum])) break;
    }
    return count;
}

// ---------------------------------------------------------------------------------------------------------------------
// Top-p

/// Scores to the power of `inverse`, the best being 1; nothing below 0 counts.
INLINE lanes tempered(lanes scores, float best, float inverse) {
    const lanes share = scores / best;
    const ints counts = share >= 0x1p-126f;
    return keep(counts, exp_lanes(log_lanes(select_lanes(counts, share, splat(1))) * inverse));
}

static int32_t top_p(const float *scores, int32_t n, const float *ranked, int32_t limit, float inverse, float p) {
    float best = 1;
    if (inverse != 1) {
        lanes top = load_part(scores, n, 0);
        for (int32_t i = 16; i < n; i += 16) {
            const lanes v = load_part(scores + i, n - i, 0);
            top = select_lanes(v > top, v, top);
        }
        best = largest_lane(top);
        if (!(best > 0)) return limit < 1 ? limit : 1;
    }
    lanes total = splat(0);
    for (int32_t i = 0; i < n; i += 16) {
        const lanes v = load_part(scores + i, n - i, 0);
        total += inverse == 1 ? keep(v > 0, v) : tempered(v, best, inverse);
    }
    const float target = p * fold(total);
    float mass = 0;
    for (int32_t first = 0; first < limit; first += 16) {
        float shares[16];
        const lanes v = load_part(ranked + first, limit - first, 0);
        store(shares, inverse == 1 ? keep(v > 0, v) : tempered(v, best, inverse));
        const int32_t count = limit - first < 16 ? limit - first : 16;
        for (int32_t i = 0; i < count; i++) {
            mass += shares[i];
            if (mass >= target) return first + i + 1;
        }
    }
    return limit;
}

const moe_router_kernels NAME = {top_k, norm, product, entropy, features, heads, top_p};
