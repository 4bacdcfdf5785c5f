#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace swift::kernels {

struct Packing {
    std::vector<std::int64_t> order;    // [n] sequence indices, grouped by bin
    std::vector<std::int64_t> offsets;  // [bins + 1] bin b holds order[offsets[b]] .. order[offsets[b + 1] - 1]
};

// Best-fit decreasing: longest sequence first (equal lengths: lowest index first), each into the fullest bin
// that still takes it (equally full bins: the one opened first). Within a bin `order` keeps the order of placement.
// Throws std::invalid_argument unless capacity is in [1, 2^31 - 1] and every length in [1, capacity].
Packing pack(const std::int64_t* lengths, std::size_t n, std::int64_t capacity);

}  // namespace swift::kernels
