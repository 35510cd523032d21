// SPDX-License-Identifier: Apache-2.0
//
// A driver of libllama for Tools/peers: keeps a model loaded and measures one case per line of standard input, so that two
// engines can be measured in turns. Built by Tools/build_llama_cpp.sh. The protocol is that of `moe-infer bench --serve`:
//
//   llama-serve-bench MODEL THREADS repack|plain
//   prompt=512 seed=7                             -> {"test": "pp512", "seconds": …, "tokens": 512}
//   generate=64 depth=4096 batch=4 seed=7         -> {"test": "tg64", "seconds": …, "tokens": 256}
//
// plain is llama-bench's `--repack 0`. Settings are llama-bench's own, but for n_ctx, which is what the case needs. Tokens are
// random and different in every sequence, the same for a seed as in Sources/MoEInfer/Benchmark.swift: both engines read the
// same experts. Contexts are kept from case to case, so the positions before a case are computed once.

#include "ggml-cpu.h"
#include "llama.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void log_errors(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

struct Case {
    uint64_t prompt = 0, generate = 0, batch = 1, depth = 0, seed = 0;
    uint64_t count() const { return prompt ? prompt : generate; }
    std::string name() const { return (prompt ? "pp" : "tg") + std::to_string(count()); }
};

Case parse(const std::string & line) {
    Case found;
    const std::map<std::string, uint64_t *> settings = {{"prompt", &found.prompt}, {"generate", &found.generate},
        {"batch", &found.batch}, {"depth", &found.depth}, {"seed", &found.seed}};
    std::istringstream words(line);
    for (std::string word; words >> word;) {
        const size_t sign = word.find('=');
        const auto setting = settings.find(word.substr(0, sign));
        if (sign == std::string::npos || setting == settings.end()) throw std::runtime_error("'" + word + "' is not known");
        *setting->second = std::stoull(word.substr(sign + 1));
    }
    const bool one = (found.prompt > 0) != (found.generate > 0);
    if (!one || found.batch < 1 || (found.prompt && found.batch > 1)) {
        throw std::runtime_error("a case is either prompt=N of one sequence or generate=N");
    }
    return found;
}

/// part: 0 for what is measured, 1 for the positions before it. A stream of its own for each (seed, sequence, part).
std::vector<llama_token> tokens(uint64_t count, const Case & test, uint64_t sequence, uint64_t part, uint64_t vocabulary) {
    const uint64_t multiplier = 6364136223846793005u, increment = 1442695040888963407u;
    uint64_t state = test.seed * 1000003 + sequence * 2 + part;
    for (int i = 0; i < 4; i++) state = state * multiplier + increment;
    std::vector<llama_token> result(count);
    for (llama_token & token : result) {
        state = state * multiplier + increment;
        token = static_cast<llama_token>((state >> 33) % vocabulary);
    }
    return result;
}

class Bench {
  public:
    Bench(llama_model * model, int threads) : model(model), threads(threads) {
        vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
        ggml_threadpool_params parameters = ggml_threadpool_params_default(threads);
        pool = ggml_threadpool_new(&parameters);
        if (!pool) throw std::runtime_error("no threads");
    }

    double run(const Case & test) {
        llama_context * ctx = context(test);
        for (uint64_t s = 0; s < test.batch; s++) {
            // What the last run of this case left behind the positions before it.
            llama_memory_seq_rm(llama_get_memory(ctx), static_cast<llama_seq_id>(s), static_cast<llama_pos>(test.depth), -1);
        }
        std::vector<std::vector<llama_token>> ids;
        for (uint64_t s = 0; s < test.batch; s++) ids.push_back(tokens(test.count(), test, s, 0, vocabulary));
        llama_batch batch = llama_batch_init(static_cast<int32_t>(test.batch), 0, 1);
        const Clock::time_point start = Clock::now();
        if (test.prompt) {
            prefill(ctx, ids[0], 0, test.depth);
        } else {
            for (uint64_t step = 0; step < test.generate; step++) {
                batch.n_tokens = static_cast<int32_t>(test.batch);
                for (uint64_t s = 0; s < test.batch; s++) set(batch, s, ids[s][step], test.depth + step, s, true);
                decode(ctx, batch);
            }
        }
        const double seconds = seconds_since(start);
        llama_batch_free(batch);
        return seconds;
    }

  private:
    llama_model * model;
    int threads;
    uint64_t vocabulary = 0;
    ggml_threadpool * pool = nullptr;
    std::map<std::tuple<uint64_t, uint64_t, uint64_t, uint64_t>, llama_context *> contexts;
    const uint64_t step = 512;  // tokens of a prompt at a time, llama-bench's n_ubatch

    static void set(llama_batch & batch, uint64_t row, llama_token id, uint64_t position, uint64_t sequence, bool logits) {
        batch.token[row] = id;
        batch.pos[row] = static_cast<llama_pos>(position);
        batch.n_seq_id[row] = 1;
        batch.seq_id[row][0] = static_cast<llama_seq_id>(sequence);
        batch.logits[row] = logits;
    }

    static void decode(llama_context * ctx, const llama_batch & batch) {
        if (llama_decode(ctx, batch)) throw std::runtime_error("decoding failed");
        llama_synchronize(ctx);
    }

    void prefill(llama_context * ctx, const std::vector<llama_token> & ids, uint64_t sequence, uint64_t position) const {
        llama_batch batch = llama_batch_init(static_cast<int32_t>(step), 0, 1);
        for (uint64_t first = 0; first < ids.size(); first += step) {
            const uint64_t count = std::min<uint64_t>(step, ids.size() - first);
            batch.n_tokens = static_cast<int32_t>(count);
            for (uint64_t i = 0; i < count; i++) {
                set(batch, i, ids[first + i], position + first + i, sequence, first + i + 1 == ids.size());
            }
            decode(ctx, batch);
        }
        llama_batch_free(batch);
    }

    /// With the positions before the case in it.
    llama_context * context(const Case & test) {
        const auto room = std::make_tuple(test.batch, test.depth, test.count(), test.depth ? test.seed : 0);
        if (const auto known = contexts.find(room); known != contexts.end()) return known->second;
        llama_context_params parameters = llama_context_default_params();
        // Each sequence has a cache of its own, of a multiple of 256 positions.
        const uint64_t positions = (test.depth + test.count() + 255) / 256 * 256;
        parameters.n_ctx = static_cast<uint32_t>(positions * test.batch);
        parameters.n_seq_max = static_cast<uint32_t>(test.batch);
        const bool prompts = test.prompt || test.depth;
        parameters.n_batch = parameters.n_ubatch = static_cast<uint32_t>(prompts ? step : std::max<uint64_t>(test.batch, 32));
        parameters.n_outputs_max = static_cast<uint32_t>(test.batch);  // only the last token of a prompt has logits: less memory
        parameters.n_threads = parameters.n_threads_batch = threads;
        parameters.no_perf = true;
        llama_context * ctx = llama_init_from_model(model, parameters);
        if (!ctx) throw std::runtime_error("no context of " + std::to_string(parameters.n_ctx) + " positions");
        llama_attach_threadpool(ctx, pool, nullptr);
        for (uint64_t s = 0; test.depth && s < test.batch; s++) {
            prefill(ctx, tokens(test.depth, test, s, 1, vocabulary), s, 0);
        }
        return contexts[room] = ctx;
    }
};

int serve(const char * path, int threads, bool repack) {
    const Clock::time_point start = Clock::now();
    llama_backend_init();
    llama_model_params parameters = llama_model_default_params();
    parameters.use_extra_bufts = repack;
    llama_model * model = llama_model_load_from_file(path, parameters);
    if (!model) throw std::runtime_error(std::string("cannot load ") + path);
    Bench bench(model, threads);
    printf("{\"load_seconds\": %.6f, \"system\": \"%s\"}\n", seconds_since(start), llama_print_system_info());
    fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        if (line.find_first_not_of(' ') == std::string::npos) continue;
        try {
            const Case test = parse(line);
            const double seconds = bench.run(test);
            printf("{\"test\": \"%s\", \"seconds\": %.9f, \"tokens\": %llu}\n", test.name().c_str(), seconds,
                   static_cast<unsigned long long>(test.count() * test.batch));
        } catch (const std::exception & problem) {
            printf("{\"error\": \"%s\"}\n", problem.what());
        }
        fflush(stdout);
    }
    // The process ends here: nothing needs to be given back.
    return 0;
}

}  // namespace

int main(int argc, char ** argv) {
    const std::string mode = argc == 4 ? argv[3] : "";
    if (mode != "repack" && mode != "plain") {
        fprintf(stderr, "usage: llama-serve-bench MODEL THREADS repack|plain\n");
        return 64;
    }
    llama_log_set(log_errors, nullptr);
    try {
        return serve(argv[1], atoi(argv[2]), mode == "repack");
    } catch (const std::exception & problem) {
        fprintf(stderr, "llama-serve-bench: %s\n", problem.what());
        return 1;
    }
}
