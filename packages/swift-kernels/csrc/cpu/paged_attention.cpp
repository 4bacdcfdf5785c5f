#include "cpu/paged_attention.h"

#include <algorithm>
#include <vector>

#include "cpu/instruction_set.h"
#include "cpu/threads.h"

namespace swift::kernels {

#define SWIFT_DECLARE(isa)                                                                                \
    namespace isa {                                                                                       \
    void paged_head(const PagedAttention& work, std::int64_t row, std::int64_t head, float* scores);      \
    }
SWIFT_EACH_INSTRUCTION_SET(SWIFT_DECLARE)
#undef SWIFT_DECLARE

void paged_attention(const PagedAttention& work, int threads) {
    static const auto take = SWIFT_CHOOSE(paged_head);
    const std::int64_t longest = work.rows ? *std::max_element(work.lengths, work.lengths + work.rows) : 0;
    on_threads(threads, work.rows * work.key_heads, [&](std::int64_t first, std::int64_t last) {
        std::vector<float> scores(work.heads / work.key_heads * (longest + 1));
        for (std::int64_t item = first; item < last; ++item) {
            take(work, item / work.key_heads, item % work.key_heads, scores.data());
        }
    });
}

}  // namespace swift::kernels
