// SPDX-License-Identifier: Apache-2.0
//
// How interleaved weights (interleave.c) are read, for any width of vector. Whoever includes this has defined, for GROUP weight rows:
//   integers, floats                         vectors of GROUP lanes of 32 bits, a lane a row
//   load_integers(p), load_halves(p)         a vector; GROUP float16, as floats
//   bytes_of(v), ints_of(v)                  the same 8 or 32 bits everywhere
//   common(a, b), both(a, b)                 and, or
//   bits_right, bits_left(v, n)              shifts of 16-bit words
//   bytes_right(v, n)                        a shift of lanes by n bytes
//   low_nibbles(v), high_nibbles(v)
//   floats_of(v), times(a, b)                lanes as floats; products
//   lowest_byte(v), minus(v)                 of each lane, with its sign; negated floats
//   store_panel(p, v), store_floats(p, v)
//   panel_weights(v, offset)                 weights with `offset` added, as panels have them

/// What all blocks of a chunk need.
typedef struct chunk_scales {
    floats d, dmin;
    integers scales[2], mins[2];  // Q4_K, Q5_K: bytes, of blocks 0...3 and 4...7
} chunk_scales;

/// A block of 32 of GROUP weight rows.
typedef struct block_weights {
    integers part[8];     // the i-th 4 bytes of every row
    floats scale, min;
    integers sub_scales;  // BLOCK16: int8 of each half, in bytes 0 and 1
} block_weights;

/// A type's blocks come in steps, as their words lie: a loop whose loads advance by little is what the hardware can foresee.
typedef struct few_type {
    chunk_scales (*scales)(const uint8_t *halves, const uint8_t *words);
    /// The which'th block of a step.
    block_weights (*block)(const chunk_scales *scales, const uint8_t *halves, const uint8_t *words, int step, int which);
    /// Its number.
    int (*number)(int step, int which);
    moe_type_traits traits;
    int offset;            // log2 of what is subtracted from each weight; -1: nothing
    int steps;             // 8 / steps blocks each
    size_t halves, words;  // bytes of a chunk's
} few_type;

MOE_INLINE integers load_words(const uint8_t *w, int index) { return load_integers(w + 4 * GROUP * index); }
/// The `index`-th float16 of every row.
MOE_INLINE floats halves_of(const uint8_t *halves, int index) { return load_halves(halves + 2 * GROUP * index); }

MOE_INLINE chunk_scales no_scales(const uint8_t *halves, const uint8_t *words) { return (void)halves, (void)words, (chunk_scales){0}; }
MOE_INLINE int one_by_one(int step, int which) { return step + which; }

MOE_INLINE block_weights block_q8_0(const chunk_scales *scales, const uint8_t *halves, const uint8_t *words, int step, int which) {
    (void)scales, (void)which;
    block_weights out = {.scale = halves_of(halves, step)};
    for (int t = 0; t < 8; t++) out.part[t] = load_words(words, 8 * step + t);
    return out;
}

MOE_INLINE block_weights block_q4_0(const chunk_scales *scales, const uint8_t *halves, const uint8_t *words, int step, int which) {
    (void)scales, (void)which;
    block_weights out = {.scale = halves_of(halves, step)};
    for (int t = 0; t < 4; t++) {
        const integers packed = load_words(words, 4 * step + t);
        out.part[t] = low_nibbles(packed);
        out.part[4 + t] = high_nibbles(packed);
    }
    return out;
}

/// The first three words hold scales and mins: see scales_k of few_avx2.c.
MOE_INLINE chunk_scales scales_k(const uint8_t *halves, const uint8_t *words) {
    const integers first = load_words(words, 0), mins = load_words(words, 1), last = load_words(words, 2);
    const integers six = bytes_of(63), two = bytes_of(48);
    return (chunk_scales){
        .d = halves_of(halves, 0), .dmin = halves_of(halves, 1),
        .scales = {common(first, six), both(low_nibbles(last), common(bits_right(first, 2), two))},
        .mins = {common(mins, six), both(high_nibbles(last), common(bits_right(mins, 2), two))},
    };
}

/// Low nibbles, then high ones.
MOE_INLINE int by_twos(int step, int which) { return 2 * step + which; }

MOE_INLINE block_weights scales_of_block(const chunk_scales *scales, int j) {
    const integers byte = ints_of(255);
    const integers scale = common(bytes_right(scales->scales[j / 4], j % 4), byte);
    const integers min = common(bytes_right(scales->mins[j / 4], j % 4), byte);
    return (block_weights){.scale = times(scales->d, floats_of(scale)), .min = times(scales->dmin, floats_of(min))};
}

MOE_INLINE block_weights block_q4_k(const chunk_scales *scales, const uint8_t *halves, const uint8_t *words, int step, int which) {
    (void)halves;
    block_weights out = scales_of_block(scales, by_twos(step, which));
    for (int t = 0; t < 8; t++) {
        const integers packed = load_words(words, 3 + 8 * step + t);
        out.part[t] = which ? high_nibbles(packed) : low_nibbles(packed);
    }
    return out;
}

MOE_INLINE block_weights block_q5_k(const chunk_scales *scales, const uint8_t *halves, const uint8_t *words, int step, int which) {
    block_weights out = block_q4_k(scales, halves, words + 8 * 4 * GROUP, step, which);
    for (int t = 0; t < 8; t++) {
        const integers own = bits_right(load_words(words, 3 + t), by_twos(step, which));
        out.part[t] = both(out.part[t], common(bits_left(own, 4), bytes_of(16)));
    }
    return out;
}

MOE_INLINE chunk_scales scales_q6_k(const uint8_t *halves, const uint8_t *words) {
    return (void)words, (chunk_scales){.d = halves_of(halves, 0)};
}

/// Blocks 0 and 2, 1 and 3, 4 and 6, 5 and 7 share words of nibbles.
MOE_INLINE int by_fours(int step, int which) { return 4 * (step / 2) + step % 2 + 2 * which; }

/// Words 0...3 are the scales; for each half follow 8 words of qh and 16 of ql: see weights_q6_k of few_avx2.c.
MOE_INLINE block_weights block_q6_k(const chunk_scales *scales, const uint8_t *halves, const uint8_t *words, int step, int which) {
    (void)halves;
    block_weights out = {.scale = scales->d};
    const int half = step / 2, odd = step % 2;
    for (int t = 0; t < 8; t++) {
        const integers packed = load_words(words, 12 + 24 * half + 8 * odd + t), qh = load_words(words, 4 + 24 * half + t);
        const integers top = which ? bits_right(qh, 2 * odd) : bits_left(qh, 4 - 2 * odd);
        out.part[t] = both(which ? high_nibbles(packed) : low_nibbles(packed), common(top, bytes_of(48)));
    }
    out.sub_scales = bytes_right(load_words(words, 2 * half + which), 2 * odd);
    return out;
}

// Type, scales of a chunk, number of a block, few_type.offset, steps, halves of a block or chunk (as many as blocks: 8).
#define FEW_TYPES(X)                                  \
    X(Q4_0, q4_0, no_scales, one_by_one, 3, 8, 8)     \
    X(Q8_0, q8_0, no_scales, one_by_one, -1, 8, 8)    \
    X(Q4_K, q4_k, scales_k, by_twos, -1, 4, 2)        \
    X(Q5_K, q5_k, scales_k, by_twos, -1, 4, 2)        \
    X(Q6_K, q6_k, scales_q6_k, by_fours, 5, 4, 1)

#define BLOCK_BYTES(NAME) ((size_t)moe_traits_table[MOE_TYPE_##NAME].block_bytes)
#define CHUNK_BYTES(NAME) (GROUP * MOE_CHUNK / (size_t)moe_traits_table[MOE_TYPE_##NAME].block_elements * BLOCK_BYTES(NAME))
#define FEW_TYPE(NAME, name, scales, number, offset, steps, halves)                      \
    ((few_type){scales, block_##name, number, moe_traits_table[MOE_TYPE_##NAME], offset, \
                steps, 2 * GROUP * halves, CHUNK_BYTES(NAME) - 2 * GROUP * halves})

/// A group of rows -> a panel that is as wide (panel_body.h), with the same weights in the same lanes.
MOE_INLINE void pack_group(const few_type type, const uint8_t *rows, int64_t k, moe_ahead ahead, uint8_t *panel) {
    const size_t block_bytes = moe_panel_block_bytes(&type.traits, GROUP), chunks = (size_t)(k / MOE_CHUNK);
    moe_fetching fetch = fetching(ahead, chunks);
    for (size_t c = 0; c < chunks; c++, rows += type.halves + type.words) {
        fetch_part(&fetch);
        const chunk_scales scales = type.scales(rows, rows + type.halves);
        for (int step = 0; step < type.steps; step++) {
            for (int which = 0; which < 8 / type.steps; which++) {
                const block_weights w = type.block(&scales, rows, rows + type.halves, step, which);
                uint8_t *block = panel + ((size_t)type.number(step, which) * chunks + c) * block_bytes;
                const int offset = type.offset < 0 ? 0 : 1 << type.offset;
                for (int t = 0; t < 8; t++) store_panel(block + 4 * GROUP * t, panel_weights(w.part[t], offset));
                float *factors = (float *)(block + 32 * GROUP);
                store_floats(factors, w.scale);
                store_floats(factors + GROUP, type.traits.has_min ? minus(w.min) : floats_of(ints_of(0)));
                if (type.traits.kind != MOE_CLASS_BLOCK16) continue;
                store_floats(factors + 2 * GROUP, floats_of(lowest_byte(w.sub_scales)));
                store_floats(factors + 3 * GROUP, floats_of(lowest_byte(bytes_right(w.sub_scales, 1))));
            }
        }
    }
}

/// `type` with MOE_INTERLEAVED added.
MOE_INLINE void pack_interleaved(int32_t type, const uint8_t *rows, int64_t k, moe_ahead ahead, uint8_t *panel) {
    switch (type - MOE_INTERLEAVED) {
#define PACK(NAME, name, ...) \
    case MOE_TYPE_##NAME: pack_group(FEW_TYPE(NAME, name, __VA_ARGS__), rows, k, ahead, panel); break;
        FEW_TYPES(PACK)
        default: break;
    }
}
