// The columns of skinny_linear.h, compiled once for each instruction set: SWIFT_ISA names the namespace, SWIFT_WIDTH the
// floats of a vector, SWIFT_VECTORS the vectors of the highest panel. Internal linkage only, as in softmax_rows.h.
#include <cstring>

#include "cpu/skinny_linear.h"

namespace swift::kernels::SWIFT_ISA {
namespace {

#include "cpu/vectors.h"

constexpr std::int64_t GROUP = 48;   // out features written together: whole cache lines
constexpr std::int64_t DEPTH = 512;  // of `in` at a time: the panel's part stays in the second-level cache
constexpr std::int64_t LINE = 16;    // floats of a cache line

// Weight rows whose products with a panel of V vectors are summed in registers together; they divide GROUP.
template <int V>
constexpr int COLUMNS = 2 * V > SWIFT_VECTORS ? (4 * V > 3 * SWIFT_VECTORS ? 6 : 8) : 12;

// sums[j, p] += sum over k of weight[j, k] panel[k, p] for N weight rows and V vectors of p.
template <int N, int V>
void products(const float* weight, std::int64_t stride, const float* panel, std::int64_t depth, float* sums) {
    constexpr std::int64_t height = V * WIDTH;
    Floats held[N][V];
#pragma GCC unroll 12
    for (int j = 0; j < N; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) held[j][v] = load(sums + j * height + v * WIDTH);
    }
    for (std::int64_t k = 0; k < depth; ++k) {
        Floats input[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) input[v] = load(panel + k * height + v * WIDTH);
#pragma GCC unroll 12
        for (int j = 0; j < N; ++j) {
            const Floats factor = all(weight[j * stride + k]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) held[j][v] += input[v] * factor;
        }
    }
#pragma GCC unroll 12
    for (int j = 0; j < N; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store(sums + j * height + v * WIDTH, held[j][v]);
    }
}

// The next weight rows come from memory while these are multiplied.
void prefetch(const float* weight, std::int64_t count) {
    for (std::int64_t k = 0; k < count; k += LINE) __builtin_prefetch(weight + k);
}

template <int V>
void group_products(const SkinnyLinear& work, const Panels& panels, std::int64_t first, std::int64_t count,
                    float* sums) {
    constexpr int columns = COLUMNS<V>;
    constexpr std::int64_t height = V * WIDTH;
    for (std::int64_t start = 0; start < work.in; start += DEPTH) {
        const std::int64_t depth = work.in - start < DEPTH ? work.in - start : DEPTH;
        for (std::int64_t panel = 0; panel < panels.count; ++panel) {
            const float* input = panels.data + (panel * work.in + start) * height;
            float* to = sums + panel * GROUP * height;
            std::int64_t j = 0;
            for (; j + columns <= count; j += columns) {
                const float* weight = work.weight + (first + j) * work.in + start;
                if (panel == 0 && first + j + 2 * columns <= work.out_features) {
                    for (int next = columns; next < 2 * columns; ++next) prefetch(weight + next * work.in, depth);
                }
                products<columns, V>(weight, work.in, input, depth, to + j * height);
            }
            for (; j < count; ++j) {
                const float* weight = work.weight + (first + j) * work.in + start;
                products<1, V>(weight, work.in, input, depth, to + j * height);
            }
        }
    }
}

void write_group(const SkinnyLinear& work, std::int64_t height, std::int64_t first, std::int64_t count,
                 const float* sums) {
    for (std::int64_t m = 0; m < work.rows; ++m) {
        const float* from = sums + (m / height) * GROUP * height + m % height;
        float* to = work.out + m * work.out_features + first;
        for (std::int64_t j = 0; j < count; ++j) to[j] = from[j * height] + (work.bias ? work.bias[first + j] : 0.0f);
    }
}

}  // namespace

std::int64_t vector_width() { return WIDTH; }

std::int64_t most_vectors() { return SWIFT_VECTORS; }

std::int64_t group_width() { return GROUP; }

// Group `index` of the out features; sums: [panels, GROUP, height] floats of scratch memory.
void skinny_group(const SkinnyLinear& work, const Panels& panels, std::int64_t index, float* sums) {
    const std::int64_t first = index * GROUP;
    const std::int64_t count = work.out_features - first < GROUP ? work.out_features - first : GROUP;
    std::memset(sums, 0, sizeof(float) * panels.count * GROUP * panels.height);
    switch (panels.height / WIDTH) {
        case 1: group_products<1>(work, panels, first, count, sums); break;
        case 2: group_products<2>(work, panels, first, count, sums); break;
#if SWIFT_VECTORS == 4
        case 3: group_products<3>(work, panels, first, count, sums); break;
        default: group_products<4>(work, panels, first, count, sums);
#endif
    }
    write_group(work, panels.height, first, count, sums);
}

}  // namespace swift::kernels::SWIFT_ISA
