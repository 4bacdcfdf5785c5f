// The rows of softmax_tile.h, compiled once for each instruction set: SWIFT_ISA names the namespace, SWIFT_WIDTH the
// floats of a vector. Everything here has internal linkage, and nothing inline comes from outside: the linker must
// not give code for one instruction set to another.
#include <cfloat>
#include <cstring>

#include "cpu/softmax_tile.h"

namespace swift::kernels::SWIFT_ISA {
namespace {

#include "cpu/vectors.h"

// tanh(x) to a few ulp, as a quotient of polynomials (Eigen's approximation).
Floats hyperbolic_tangent(Floats x) {
    const Floats bound = all(7.90531110763549805f);
    Floats y = x > bound ? bound : x;
    y = y < -bound ? -bound : y;
    const Floats s = y * y;
    Floats p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    Floats q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return y * p / q;
}

struct Float32 {
    using Element = float;
    static constexpr Element LOWEST = -FLT_MAX;
    static Floats load(const Element* from) { return SWIFT_ISA::load(from); }
    static void store(Element* to, Floats values) { SWIFT_ISA::store(to, values); }
};

struct BFloat16 {
    using Element = std::uint16_t;
    static constexpr Element LOWEST = 0xff7f;
    static Floats load(const Element* from) {
        Halves halves;
        std::memcpy(&halves, from, sizeof(halves));
        return same_bits<Floats>(SWIFT_CONVERT(halves, Bits) << 16);
    }
    static void store(Element* to, Floats values) {  // to the nearest, ties to even; NaN stays NaN
        const Bits bits = same_bits<Bits>(values);
        const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        const Bits kept = values == values ? rounded : (bits >> 16) | 0x40u;
        const Halves halves = SWIFT_CONVERT(kept, Halves);
        std::memcpy(to, &halves, sizeof(halves));
    }
};

// Calls body(values, count) for each vector of a row; of the last one only the first `count` entries belong to it.
template <class Format, class Body>
void for_each_vector(typename Format::Element* row, std::int64_t columns, Body body) {
    std::int64_t i = 0;
    for (; i + WIDTH <= columns; i += WIDTH) body(row + i, WIDTH);
    const std::int64_t rest = columns - i;
    if (rest == 0) return;
    typename Format::Element padded[WIDTH];
    for (auto& entry : padded) entry = Format::LOWEST;
    std::memcpy(padded, row + i, sizeof(padded[0]) * static_cast<std::size_t>(rest));
    body(padded, rest);
    std::memcpy(row + i, padded, sizeof(padded[0]) * static_cast<std::size_t>(rest));
}

Floats first_of(Floats values, std::int64_t count) {
    float lanes[WIDTH];
    std::memcpy(lanes, &values, sizeof(lanes));
    for (std::int64_t i = count; i < WIDTH; ++i) lanes[i] = 0;
    std::memcpy(&values, lanes, sizeof(lanes));
    return values;
}

// z, and dz/dx.
struct Logit {
    Floats z;
    Floats slope;
};

template <bool Capped>
Logit logit(Floats x, const Scaling& scaling) {
    if constexpr (Capped) {
        const Floats bent = hyperbolic_tangent(x * (scaling.logit_scale / scaling.softcap));
        const float slope = scaling.logit_scale * scaling.inverse_temperature;
        return {bent * (scaling.softcap * scaling.inverse_temperature), slope * (1.0f - bent * bent)};
    } else {
        const float slope = scaling.logit_scale * scaling.inverse_temperature;
        return {x * slope, all(slope)};
    }
}

// The products of one row with the columns of a tile.
template <class Format>
struct Row {
    typename Format::Element* values;
    std::int64_t columns;
    std::int64_t target;  // among these columns, or outside of [0, columns)

    bool has_target() const { return target >= 0 && target < columns; }

    float at(std::int64_t column) const {
        typename Format::Element padded[WIDTH] = {};
        padded[0] = values[column];
        return lane(Format::load(padded), 0);
    }
};

template <class Format>
Row<Format> row_of(const Tile& tile, std::int64_t r) {
    auto* values = static_cast<typename Format::Element*>(tile.values);
    return {values + r * tile.columns, tile.columns, tile.targets[r] - tile.first_column};
}

template <class Format>
float largest_product(const Row<Format>& row) {
    Floats top[4] = {all(-FLT_MAX), all(-FLT_MAX), all(-FLT_MAX), all(-FLT_MAX)};
    int next = 0;
    for_each_vector<Format>(row.values, row.columns, [&](auto* values, std::int64_t) {
        top[next & 3] = larger(Format::load(values), top[next & 3]);
        ++next;
    });
    return largest(larger(larger(top[0], top[1]), larger(top[2], top[3])));
}

template <bool Capped>
float raise_top(const SoftmaxState& state, std::int64_t r, float product, const Scaling& scaling) {
    const float before = state.top[r];
    const float z = lane(logit<Capped>(all(product), scaling).z, 0);
    if (!(z > before)) return before;
    state.top[r] = z;
    if (state.total[r] == 0) return z;
    const float shrink = lane(exponential(all(before - z)), 0);
    if (state.spread) state.spread[r] = shrink * (state.spread[r] + state.total[r] * (before - z));
    state.total[r] *= shrink;
    if (state.weighted) {
        float* weighted = state.weighted + r * state.width;
        for (std::int64_t i = 0; i < state.width; ++i) weighted[i] *= shrink;
    }
    return z;
}

template <class Format, bool Capped, bool Spread, bool Keep>
void take_row(const Tile& tile, const SoftmaxState& state, const Scaling& scaling, std::int64_t r) {
    const Row<Format> row = row_of<Format>(tile, r);
    if (row.has_target()) {
        const Logit chosen = logit<Capped>(all(row.at(row.target)), scaling);
        state.picked[r] = lane(chosen.z, 0);
        state.slope[r] = lane(chosen.slope, 0);
    }
    const float top = raise_top<Capped>(state, r, largest_product(row), scaling);
    Floats total = all(0);
    Floats spread = all(0);
    const auto take = [&](auto* values, std::int64_t count) {
        const Logit entry = logit<Capped>(Format::load(values), scaling);
        const Floats below = entry.z - top;
        Floats e = exponential(below);
        if (count < WIDTH) e = first_of(e, count);
        total += e;
        if constexpr (Spread) spread += e > 0.0f ? e * below : e;
        if constexpr (Keep) Format::store(values, e * entry.slope);
    };
    if (row.has_target()) {
        for_each_vector<Format>(row.values, row.target, take);
        row.values[row.target] = 0;
        for_each_vector<Format>(row.values + row.target + 1, row.columns - row.target - 1, take);
    } else {
        for_each_vector<Format>(row.values, row.columns, take);
    }
    state.total[r] += sum(total);
    if constexpr (Spread) state.spread[r] += sum(spread);
}

template <class Format, bool Capped>
void gradient_row(const Tile& tile, float log_total, float row_gradient, const Scaling& scaling, std::int64_t r) {
    const Row<Format> row = row_of<Format>(tile, r);
    float at_target = 0;
    if (row.has_target()) {
        const Logit chosen = logit<Capped>(all(row.at(row.target)), scaling);
        const float p = lane(exponential(chosen.z - log_total), 0);
        at_target = row_gradient * (p - 1.0f) * lane(chosen.slope, 0);
    }
    for_each_vector<Format>(row.values, row.columns, [&](auto* values, std::int64_t) {
        const Logit entry = logit<Capped>(Format::load(values), scaling);
        Format::store(values, exponential(entry.z - log_total) * row_gradient * entry.slope);
    });
    if (row.has_target()) {
        typename Format::Element padded[WIDTH];
        Format::store(padded, all(at_target));
        row.values[row.target] = padded[0];
    }
}

template <class Format, bool Capped>
void take_rows(const Tile& tile, const SoftmaxState& state, const Scaling& scaling, std::int64_t r) {
    if (state.weighted) {
        state.spread ? take_row<Format, Capped, true, true>(tile, state, scaling, r)
                     : take_row<Format, Capped, false, true>(tile, state, scaling, r);
    } else {
        state.spread ? take_row<Format, Capped, true, false>(tile, state, scaling, r)
                     : take_row<Format, Capped, false, false>(tile, state, scaling, r);
    }
}

}  // namespace

void softmax_row(const Tile& tile, const SoftmaxState& state, const Scaling& scaling, std::int64_t r) {
    if (tile.bfloat16) {
        scaling.softcap > 0 ? take_rows<BFloat16, true>(tile, state, scaling, r)
                            : take_rows<BFloat16, false>(tile, state, scaling, r);
    } else {
        scaling.softcap > 0 ? take_rows<Float32, true>(tile, state, scaling, r)
                            : take_rows<Float32, false>(tile, state, scaling, r);
    }
}

void softmax_gradient_row(const Tile& tile, float log_total, float row_gradient, const Scaling& scaling,
                          std::int64_t r) {
    if (tile.bfloat16) {
        scaling.softcap > 0 ? gradient_row<BFloat16, true>(tile, log_total, row_gradient, scaling, r)
                            : gradient_row<BFloat16, false>(tile, log_total, row_gradient, scaling, r);
    } else {
        scaling.softcap > 0 ? gradient_row<Float32, true>(tile, log_total, row_gradient, scaling, r)
                            : gradient_row<Float32, false>(tile, log_total, row_gradient, scaling, r);
    }
}

}  // namespace swift::kernels::SWIFT_ISA
