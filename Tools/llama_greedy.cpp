// SPDX-License-Identifier: Apache-2.0
//
// A driver of libllama for comparisons: greedy token ids with their margins, and logits of given ids. Neither is printed by
// llama.cpp's own tools. Built by Tools/build_llama_cpp.sh, called by Tools/compare_llama.py and Tools/golden/make_golden.py.
//
//   llama-greedy greedy MODEL THREADS COUNT PROMPT...   one JSON object per prompt, a line each:
//       {"prompt_tokens": [ids], "tokens": [ids], "runners_up": [ids], "margins": [best logit minus second], "ended": bool}
//   llama-greedy logits MODEL THREADS ID,ID,... STEPS   raw float32 [ids, vocabulary] on standard output; all but the last
//       STEPS ids in one batch, then one at a time with the cache
//
// Keys and values are kept in float32 and attention is not fused, so that the result is as exact as the file allows.

#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const std::string & problem) {
    fprintf(stderr, "llama-greedy: %s\n", problem.c_str());
    exit(1);
}

void log_errors(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

std::string list(const std::vector<llama_token> & ids) {
    std::string text = "[";
    for (size_t i = 0; i < ids.size(); i++) text += (i ? ", " : "") + std::to_string(ids[i]);
    return text + "]";
}

std::string list(const std::vector<float> & values) {
    std::ostringstream text;
    text << "[";
    for (size_t i = 0; i < values.size(); i++) text << (i ? ", " : "") << values[i];
    text << "]";
    return text.str();
}

llama_context * context(llama_model * model, int threads, size_t positions) {
    llama_context_params parameters = llama_context_default_params();
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = static_cast<uint32_t>(positions);
    parameters.n_threads = parameters.n_threads_batch = threads;
    parameters.type_k = parameters.type_v = GGML_TYPE_F32;
    parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context * context = llama_init_from_model(model, parameters);
    if (!context) fail("no context");
    return context;
}

std::vector<llama_token> tokenize(const llama_vocab * vocabulary, const char * text) {
    const auto length = static_cast<int32_t>(strlen(text));
    std::vector<llama_token> ids(length + 8);
    const int32_t count = llama_tokenize(vocabulary, text, length, ids.data(), static_cast<int32_t>(ids.size()), true, true);
    if (count < 1) fail("the prompt does not tokenize");
    ids.resize(count);
    return ids;
}

void greedy(llama_model * model, int threads, int count, const char * prompt) {
    const llama_vocab * vocabulary = llama_model_get_vocab(model);
    const int32_t size = llama_vocab_n_tokens(vocabulary);
    std::vector<llama_token> next = tokenize(vocabulary, prompt);
    const std::vector<llama_token> prompt_tokens = next;
    std::vector<llama_token> tokens, runners_up;
    std::vector<float> margins;
    bool ended = false;
    llama_context * ctx = context(model, threads, prompt_tokens.size() + count);
    while (static_cast<int>(tokens.size()) < count) {
        if (llama_decode(ctx, llama_batch_get_one(next.data(), static_cast<int32_t>(next.size())))) fail("decoding failed");
        const float * logits = llama_get_logits_ith(ctx, -1);
        llama_token best = 0, second = -1;
        for (llama_token id = 1; id < size; id++) {
            if (logits[id] > logits[best]) { second = best; best = id; }
            else if (second < 0 || logits[id] > logits[second]) second = id;
        }
        tokens.push_back(best);
        runners_up.push_back(second);
        margins.push_back(logits[best] - logits[second]);
        if (llama_vocab_is_eog(vocabulary, best)) { ended = true; break; }
        next.assign(1, best);
    }
    llama_free(ctx);
    printf("{\"prompt_tokens\": %s, \"tokens\": %s, \"runners_up\": %s, \"margins\": %s, \"ended\": %s}\n",
           list(prompt_tokens).c_str(), list(tokens).c_str(), list(runners_up).c_str(), list(margins).c_str(),
           ended ? "true" : "false");
    fflush(stdout);
}

void logits(llama_model * model, int threads, const char * text, int steps) {
    std::vector<llama_token> ids;
    std::stringstream stream(text);
    for (std::string item; std::getline(stream, item, ',');) ids.push_back(std::stoi(item));
    const int count = static_cast<int>(ids.size());
    if (steps < 0 || steps >= count) fail("STEPS must be less than the number of ids");
    const int32_t size = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_context * ctx = context(model, threads, ids.size());
    llama_batch batch = llama_batch_init(count, 0, 1);
    for (int start = 0; start < count; start += batch.n_tokens) {
        batch.n_tokens = start == 0 ? count - steps : 1;
        for (int i = 0; i < batch.n_tokens; i++) {
            batch.token[i] = ids[start + i];
            batch.pos[i] = start + i;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = 0;
            batch.logits[i] = true;
        }
        if (llama_decode(ctx, batch)) fail("decoding failed");
        for (int i = 0; i < batch.n_tokens; i++) {
            fwrite(llama_get_logits_ith(ctx, i), sizeof(float), size, stdout);
        }
    }
    llama_batch_free(batch);
    llama_free(ctx);
}

}  // namespace

int main(int argc, char ** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    if (!(mode == "greedy" && argc > 5) && !(mode == "logits" && argc == 6)) {
        fprintf(stderr, "usage: llama-greedy greedy MODEL THREADS COUNT PROMPT... | logits MODEL THREADS ID,ID,... STEPS\n");
        return 64;
    }
    llama_log_set(log_errors, nullptr);
    llama_backend_init();
    llama_model * model = llama_model_load_from_file(argv[2], llama_model_default_params());
    if (!model) fail(std::string("cannot load ") + argv[2]);
    const int threads = atoi(argv[3]);
    if (mode == "greedy") {
        for (int i = 5; i < argc; i++) greedy(model, threads, atoi(argv[4]), argv[i]);
    } else {
        logits(model, threads, argv[4], atoi(argv[5]));
    }
    llama_model_free(model);
}
