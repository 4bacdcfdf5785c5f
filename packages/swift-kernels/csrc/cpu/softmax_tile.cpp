#include "cpu/softmax_tile.h"

#include "cpu/instruction_set.h"
#include "cpu/threads.h"

namespace swift::kernels {

#define SWIFT_DECLARE(isa)                                                                                      \
    namespace isa {                                                                                             \
    void softmax_row(const Tile& tile, const SoftmaxState& state, const Scaling& scaling, std::int64_t r);      \
    void softmax_gradient_row(const Tile& tile, float log_total, float row_gradient, const Scaling& scaling,    \
                              std::int64_t r);                                                                  \
    }
SWIFT_EACH_INSTRUCTION_SET(SWIFT_DECLARE)
#undef SWIFT_DECLARE

void softmax_tile(const Tile& tile, const SoftmaxState& state, const Scaling& scaling, int threads) {
    static const auto take = SWIFT_CHOOSE(softmax_row);
    on_threads(threads, tile.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = first; r < last; ++r) take(tile, state, scaling, r);
    });
}

void softmax_gradient_tile(const Tile& tile, const float* log_total, const float* row_gradient,
                           const Scaling& scaling, int threads) {
    static const auto gradient = SWIFT_CHOOSE(softmax_gradient_row);
    on_threads(threads, tile.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = first; r < last; ++r) {
            gradient(tile, log_total[r], row_gradient[r], scaling, r);
        }
    });
}

}  // namespace swift::kernels
