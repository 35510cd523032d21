// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stddef.h>
#include <stdint.h>

// The few functions of PCRE2 that are used, from libpcre2-8.so.0 when it is first asked for: nothing is needed to build, and a
// system without the library runs everything that does not need it.

typedef struct moe_pcre2 moe_pcre2;

/// Whether the library is there.
int moe_pcre2_available(void);

/// The library's version as in "10.42 2022-12-11", or an empty string.
const char *moe_pcre2_version(void);

/// Compiles `pattern` for UTF-8 with Unicode properties. `multiline`: ^ and $ are those of every line. NULL when it is wrong: then
/// `message` (at least 256 bytes) says why.
moe_pcre2 *moe_pcre2_compile(const char *pattern, size_t length, int multiline, char *message);

void moe_pcre2_free(moe_pcre2 *expression);

/// The first match in `text` (valid UTF-8) at or after `from`: 1 and its place, 0 for none, -1 when the limit of steps was reached
/// (or memory ran out). May be called from several threads.
int moe_pcre2_match(const moe_pcre2 *expression, const uint8_t *text, size_t length, size_t from, uint32_t limit, size_t *start,
                    size_t *end);
