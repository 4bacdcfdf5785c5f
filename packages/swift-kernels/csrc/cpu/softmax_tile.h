#pragma once

#include <cstdint>

namespace swift::kernels {

// How a logit is made of a product x of the head: z = softcap(logit_scale * x) / temperature,
// softcap(y) = cap * tanh(y / cap), or y where cap is 0. Both factors are positive, so z grows with x.
struct Scaling {
    float logit_scale;
    float softcap;
    float inverse_temperature;
};

// Products of some rows with some columns of a head's weight: [rows, columns] without gaps, float32 or bfloat16.
struct Tile {
    void* values;
    bool bfloat16;
    std::int64_t rows;
    std::int64_t columns;
    std::int64_t first_column;    // of all columns of the head
    const std::int64_t* targets;  // [rows] columns of the head
};

// What is known of each row's softmax after some of its tiles. The sums leave the target out: where it is nearly
// certain, what remains of the gradient would be lost in the difference of two large numbers.
struct SoftmaxState {
    float* top;        // [rows] largest z so far, the target's too; -FLT_MAX before the first tile
    double* total;     // [rows] sum of exp(z - top)
    double* spread;    // [rows] sum of exp(z - top) (z - top), for the entropy; or null
    float* picked;     // [rows] z of the target
    float* slope;      // [rows] dz/dx at the target
    float* weighted;   // [rows, width] sum of exp(z - top) dz/dx w, what the caller made of earlier tiles; or null
    std::int64_t width;
};

// Takes a tile into the state. Where `weighted` is given, the tile becomes exp(z - top) dz/dx, 0 at targets, and earlier
// entries of `weighted` are brought to the new top.
void softmax_tile(const Tile& tile, const SoftmaxState& state, const Scaling& scaling, int threads);

// A tile becomes its own gradient: row_gradient (exp(z - log_total) - [column is target]) dz/dx.
void softmax_gradient_tile(const Tile& tile, const float* log_total, const float* row_gradient,
                           const Scaling& scaling, int threads);

}  // namespace swift::kernels
