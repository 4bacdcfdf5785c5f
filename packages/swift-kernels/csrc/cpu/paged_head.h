// A row and key head of paged_attention.h, compiled once for each instruction set: SWIFT_ISA names the namespace,
// SWIFT_WIDTH the floats of a vector. Internal linkage only, as in softmax_rows.h.
#include <cfloat>
#include <cstring>

#include "cpu/paged_attention.h"

namespace swift::kernels::SWIFT_ISA {
namespace {

#include "cpu/vectors.h"

constexpr int CHUNK = 4;  // vectors of an output that stay in registers while the values of a page are added

// Sum of the lanes, by halves.
template <int N>
float folded(const float* lanes) {
    if constexpr (N == 1) {
        return lanes[0];
    } else {
        float halves[N / 2];
        for (int i = 0; i < N / 2; ++i) halves[i] = lanes[i] + lanes[i + N / 2];
        return folded<N / 2>(halves);
    }
}

float product(const float* a, const float* b, std::int64_t size) {
    Floats even = all(0.0f), odd = all(0.0f);
    std::int64_t i = 0;
    for (; i + 2 * WIDTH <= size; i += 2 * WIDTH) {
        even += load(a + i) * load(b + i);
        odd += load(a + i + WIDTH) * load(b + i + WIDTH);
    }
    for (; i + WIDTH <= size; i += WIDTH) even += load(a + i) * load(b + i);
    float lanes[WIDTH];
    store(lanes, even + odd);
    float result = folded<WIDTH>(lanes);
    for (; i < size; ++i) result += a[i] * b[i];
    return result;
}

// The scores become exp(score - largest), without the vector's last part when there are few; their sum.
float exponentials(float* scores, std::int64_t count) {
    float top = scores[0];
    for (std::int64_t t = 1; t < count; ++t) top = scores[t] > top ? scores[t] : top;
    float total = 0;
    for (std::int64_t t = 0; t < count; t += WIDTH) {
        float padded[WIDTH];
        const std::int64_t filled = count - t < WIDTH ? count - t : WIDTH;
        for (std::int64_t i = 0; i < WIDTH; ++i) padded[i] = i < filled ? scores[t + i] : -FLT_MAX;
        store(padded, exponential(load(padded) - top));
        total += folded<WIDTH>(padded);
        std::memcpy(scores + t, padded, sizeof(float) * filled);
    }
    return total;
}

// out += sum over t of weights[t] values[t].
template <int N>
void add_values(const float* weights, const float* values, std::int64_t count, std::int64_t size, float* out) {
    Floats held[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) held[v] = load(out + v * WIDTH);
    for (std::int64_t t = 0; t < count; ++t) {
        const Floats weight = all(weights[t]);
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) held[v] += load(values + t * size + v * WIDTH) * weight;
    }
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) store(out + v * WIDTH, held[v]);
}

void add_page(const float* weights, const float* values, std::int64_t count, std::int64_t size, float* out) {
    std::int64_t d = 0;
    for (; d + CHUNK * WIDTH <= size; d += CHUNK * WIDTH) add_values<CHUNK>(weights, values + d, count, size, out + d);
    for (; d + WIDTH <= size; d += WIDTH) add_values<1>(weights, values + d, count, size, out + d);
    for (; d < size; ++d) {
        for (std::int64_t t = 0; t < count; ++t) out[d] += weights[t] * values[t * size + d];
    }
}

// Calls body(page, first token in it, tokens of it, first column) for the tokens [first, last).
template <class Body>
void each_page(const PagedAttention& work, std::int64_t row, std::int64_t first, std::int64_t last, const Body& body) {
    const std::int32_t* pages = work.table + row * work.table_width;
    for (std::int64_t t = first; t < last;) {
        const std::int64_t inside = t % work.page_size;
        const std::int64_t room = work.page_size - inside;
        const std::int64_t count = last - t < room ? last - t : room;
        body(pages[t / work.page_size], inside, count, t - first);
        t += count;
    }
}

}  // namespace

// scores: [heads / key_heads, tokens of the row + 1] floats of scratch memory.
void paged_head(const PagedAttention& work, std::int64_t row, std::int64_t head, float* scores) {
    const std::int64_t group = work.heads / work.key_heads;
    const std::int64_t length = work.lengths[row];
    const std::int64_t page = work.table[row * work.table_width + length / work.page_size];
    const std::int64_t slot = (page * work.key_heads + head) * work.page_size + length % work.page_size;
    const std::int64_t own = row * work.key_heads + head;
    std::memcpy(work.keys + slot * work.key_size, work.new_key + own * work.key_size, sizeof(float) * work.key_size);
    std::memcpy(work.values + slot * work.value_size, work.new_value + own * work.value_size,
                sizeof(float) * work.value_size);

    const std::int64_t last = length + 1;
    const std::int64_t first = work.window > 0 && last > work.window ? last - work.window : 0;
    const std::int64_t count = last - first;
    const float* query = work.query + own * group * work.key_size;
    each_page(work, row, first, last, [&](std::int64_t p, std::int64_t inside, std::int64_t tokens, std::int64_t at) {
        const float* keys = work.keys + ((p * work.key_heads + head) * work.page_size + inside) * work.key_size;
        for (std::int64_t t = 0; t < tokens; ++t) {
            for (std::int64_t g = 0; g < group; ++g) {
                scores[g * count + at + t] =
                    product(query + g * work.key_size, keys + t * work.key_size, work.key_size) * work.scale;
            }
        }
    });
    float* out = work.out + own * group * work.value_size;
    for (std::int64_t g = 0; g < group; ++g) {
        const float share = 1.0f / exponentials(scores + g * count, count);
        for (std::int64_t t = 0; t < count; ++t) scores[g * count + t] *= share;
    }
    std::memset(out, 0, sizeof(float) * group * work.value_size);
    each_page(work, row, first, last, [&](std::int64_t p, std::int64_t inside, std::int64_t tokens, std::int64_t at) {
        const float* values = work.values + ((p * work.key_heads + head) * work.page_size + inside) * work.value_size;
        for (std::int64_t g = 0; g < group; ++g) {
            add_page(scores + g * count + at, values, tokens, work.value_size, out + g * work.value_size);
        }
    });
}

}  // namespace swift::kernels::SWIFT_ISA
