#pragma once

#include <cstdint>

namespace swift::kernels {

// out[m, n] = sum over k of input[m, k] weight[n, k], plus bias[n]; float32, rows of `in` (out: `out_features`) floats
// without gaps. For few rows m: the weight is read once, from where it lies. Libraries for any number of rows copy it
// into another layout first, which costs more than the products of few rows.
struct SkinnyLinear {
    const float* input;   // [rows, in]
    const float* weight;  // [out_features, in]
    const float* bias;    // [out_features], or null
    float* out;           // [rows, out_features]
    std::int64_t rows;
    std::int64_t in;
    std::int64_t out_features;
};

// The input by panels of P rows, [panels, in, P]; rows beyond the last one are zeros.
struct Panels {
    const float* data;
    std::int64_t height;  // P
    std::int64_t count;
};

void skinny_linear(const SkinnyLinear& work, int threads);

}  // namespace swift::kernels
