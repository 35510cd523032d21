// SPDX-License-Identifier: Apache-2.0
#include "CPCRE2.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// From PCRE2's documented interface (pcre2api(3)); the numbers are part of its ABI.
enum {
  multiline_option = 0x00000400,
  ucp_option = 0x00020000,
  never_backslash_c_option = 0x00100000,
  utf_option = 0x00080000,
  dollar_endonly_option = 0x00000010,
  no_utf_check_option = 0x40000000,
  config_version = 11,
  error_no_match = -1,
};

static struct {
  void *(*compile)(const uint8_t *, size_t, uint32_t, int *, size_t *, void *);
  void (*code_free)(void *);
  void *(*match_data_create)(const void *, void *);
  void (*match_data_free)(void *);
  int (*match)(const void *, const uint8_t *, size_t, size_t, uint32_t, void *, void *);
  size_t *(*ovector)(void *);
  void *(*context_create)(void *);
  void (*context_free)(void *);
  int (*set_match_limit)(void *, uint32_t);
  int (*set_heap_limit)(void *, uint32_t);
  int (*error_message)(int, uint8_t *, size_t);
  int (*config)(uint32_t, void *);
} api;

static int is_available;
static char version[64];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void) {
  void *library = dlopen("libpcre2-8.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) return;
  const struct {
    const char *name;
    void *place;
  } symbols[] = {
      {"pcre2_compile_8", &api.compile},
      {"pcre2_code_free_8", &api.code_free},
      {"pcre2_match_data_create_from_pattern_8", &api.match_data_create},
      {"pcre2_match_data_free_8", &api.match_data_free},
      {"pcre2_match_8", &api.match},
      {"pcre2_get_ovector_pointer_8", &api.ovector},
      {"pcre2_match_context_create_8", &api.context_create},
      {"pcre2_match_context_free_8", &api.context_free},
      {"pcre2_set_match_limit_8", &api.set_match_limit},
      {"pcre2_set_heap_limit_8", &api.set_heap_limit},
      {"pcre2_get_error_message_8", &api.error_message},
      {"pcre2_config_8", &api.config},
  };
  for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
    void *address = dlsym(library, symbols[i].name);
    if (!address) return;
    memcpy(symbols[i].place, &address, sizeof address);
  }
  if (api.config(config_version, NULL) < (int)sizeof version) api.config(config_version, version);
  is_available = 1;
}

int moe_pcre2_available(void) {
  pthread_once(&once, load);
  return is_available;
}

const char *moe_pcre2_version(void) {
  moe_pcre2_available();
  return version;
}

moe_pcre2 *moe_pcre2_compile(const char *pattern, size_t length, int multiline, char *message) {
  message[0] = 0;
  if (!moe_pcre2_available()) {
    strcpy(message, "libpcre2-8.so.0 is not installed");
    return NULL;
  }
  int error = 0;
  size_t offset = 0;
  uint32_t options = utf_option | ucp_option | never_backslash_c_option;
  options |= multiline ? multiline_option : dollar_endonly_option;
  void *code = api.compile((const uint8_t *)pattern, length, options, &error, &offset, NULL);
  if (!code && api.error_message(error, (uint8_t *)message, 256) < 0) strcpy(message, "unknown error");
  return code;
}

void moe_pcre2_free(moe_pcre2 *expression) {
  if (expression) api.code_free(expression);
}

int moe_pcre2_match(const moe_pcre2 *expression, const uint8_t *text, size_t length, size_t from, uint32_t limit, size_t *start,
                    size_t *end) {
  void *data = api.match_data_create(expression, NULL);
  void *context = api.context_create(NULL);
  int result = -1;
  if (data && context) {
    api.set_match_limit(context, limit);
    api.set_heap_limit(context, 256 * 1024);  // KiB
    int found = api.match(expression, text, length, from, no_utf_check_option, data, context);
    if (found > 0) {
      const size_t *places = api.ovector(data);
      *start = places[0];
      *end = places[1];
      // \K in a lookahead can end a match before it starts.
      result = *start <= *end && *start >= from ? 1 : -1;
    } else if (found == error_no_match) {
      result = 0;
    }
  }
  if (data) api.match_data_free(data);
  if (context) api.context_free(context);
  return result;
}
