#include "cpu/softmax_tile.h"

#include "cpu/threads.h"

namespace swift::kernels {

#define SWIFT_DECLARE(isa)                                                                                      \
    namespace isa {                                                                                             \
    void softmax_row(const Tile& tile, const SoftmaxState& state, const Scaling& scaling, std::int64_t r);      \
    void softmax_gradient_row(const Tile& tile, float log_total, float row_gradient, const Scaling& scaling,    \
                              std::int64_t r);                                                                  \
    }
SWIFT_DECLARE(baseline)
#ifdef SWIFT_X86
SWIFT_DECLARE(avx2)
SWIFT_DECLARE(avx512)
#endif
#undef SWIFT_DECLARE

namespace {

struct Implementation {
    const char* name;
    decltype(&baseline::softmax_row) take;
    decltype(&baseline::softmax_gradient_row) gradient;
};

Implementation choose() {
#ifdef SWIFT_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return {"avx512", avx512::softmax_row, avx512::softmax_gradient_row};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return {"avx2", avx2::softmax_row, avx2::softmax_gradient_row};
    }
#endif
    return {"baseline", baseline::softmax_row, baseline::softmax_gradient_row};
}

const Implementation& chosen() {
    static const Implementation implementation = choose();
    return implementation;
}

}  // namespace

void softmax_tile(const Tile& tile, const SoftmaxState& state, const Scaling& scaling, int threads) {
    on_threads(threads, tile.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = first; r < last; ++r) chosen().take(tile, state, scaling, r);
    });
}

void softmax_gradient_tile(const Tile& tile, const float* log_total, const float* row_gradient,
                           const Scaling& scaling, int threads) {
    on_threads(threads, tile.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = first; r < last; ++r) {
            chosen().gradient(tile, log_total[r], row_gradient[r], scaling, r);
        }
    });
}

const char* instruction_set() { return chosen().name; }

}  // namespace swift::kernels
