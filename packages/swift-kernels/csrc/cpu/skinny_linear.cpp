#include "cpu/skinny_linear.h"

#include <cstring>
#include <vector>

#include "cpu/instruction_set.h"
#include "cpu/threads.h"

namespace swift::kernels {

#define SWIFT_DECLARE(isa)                                                                                  \
    namespace isa {                                                                                         \
    std::int64_t vector_width();                                                                            \
    std::int64_t most_vectors();                                                                            \
    std::int64_t group_width();                                                                             \
    void skinny_group(const SkinnyLinear& work, const Panels& panels, std::int64_t index, float* sums);     \
    }
SWIFT_EACH_INSTRUCTION_SET(SWIFT_DECLARE)
#undef SWIFT_DECLARE

namespace {

// Memory of a thread that is kept from call to call: new pages would cost as much as the products.
float* scratch(std::vector<float>& memory, std::int64_t count) {
    if (memory.size() < static_cast<std::size_t>(count)) memory.resize(count);
    return memory.data();
}

void fill_panel(const SkinnyLinear& work, std::int64_t panel, std::int64_t height, float* to) {
    constexpr std::int64_t BLOCK = 16;
    const std::int64_t first = panel * height;
    const std::int64_t filled = work.rows - first < height ? work.rows - first : height;
    if (filled < height) std::memset(to, 0, sizeof(float) * work.in * height);
    for (std::int64_t start = 0; start < work.in; start += BLOCK) {
        const std::int64_t stop = work.in - start < BLOCK ? work.in : start + BLOCK;
        for (std::int64_t m = 0; m < filled; ++m) {
            const float* from = work.input + (first + m) * work.in;
            for (std::int64_t k = start; k < stop; ++k) to[k * height + m] = from[k];
        }
    }
}

}  // namespace

void skinny_linear(const SkinnyLinear& work, int threads) {
    static const auto vector_of = SWIFT_CHOOSE(vector_width);
    static const auto most_of = SWIFT_CHOOSE(most_vectors);
    static const auto width_of = SWIFT_CHOOSE(group_width);
    static const auto group = SWIFT_CHOOSE(skinny_group);
    const std::int64_t vector = vector_of(), highest = vector * most_of(), width = width_of();
    const std::int64_t count = (work.rows + highest - 1) / highest;
    const std::int64_t height = (work.rows + count * vector - 1) / (count * vector) * vector;  // least padding
    thread_local std::vector<float> kept;
    float* input = scratch(kept, count * height * work.in);
    for (std::int64_t panel = 0; panel < count; ++panel) {
        fill_panel(work, panel, height, input + panel * height * work.in);
    }
    const Panels panels{input, height, count};
    on_threads(threads, (work.out_features + width - 1) / width, [&](std::int64_t first, std::int64_t last) {
        thread_local std::vector<float> sums;
        float* memory = scratch(sums, count * width * height);
        for (std::int64_t index = first; index < last; ++index) group(work, panels, index, memory);
    });
}

}  // namespace swift::kernels
