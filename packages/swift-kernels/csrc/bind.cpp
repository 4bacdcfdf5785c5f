// Registration only: checks of shape and dtype, the GIL, ownership. The algorithms are in cpu/<op>.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <tuple>
#include <utility>
#include <vector>

#include "cpu/instruction_set.h"
#include "cpu/pack.h"
#include "cpu/paged_attention.h"
#include "cpu/skinny_linear.h"
#include "cpu/softmax_tile.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Int64In = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Int64Out = nb::ndarray<nb::numpy, std::int64_t, nb::ndim<1>>;

// Hands the vector's memory to numpy without a copy.
Int64Out to_numpy(std::vector<std::int64_t>&& values) {
    auto* owned = new std::vector<std::int64_t>(std::move(values));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<std::int64_t>*>(p); });
    return Int64Out(owned->data(), {owned->size()}, owner);
}

nb::tuple pack(const Int64In& lengths, std::int64_t capacity) {
    swift::kernels::Packing packing;
    {
        nb::gil_scoped_release release;
        packing = swift::kernels::pack(lengths.data(), lengths.size(), capacity);
    }
    return nb::make_tuple(to_numpy(std::move(packing.order)), to_numpy(std::move(packing.offsets)));
}

// Addresses instead of arrays: wrapping a tensor costs more than the smallest tiles. The caller vouches for them.
template <class T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

using TileArgument = std::tuple<std::uintptr_t, bool, std::int64_t, std::int64_t, std::int64_t, std::uintptr_t>;
using StateArgument = std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t,
                                 std::uintptr_t, std::int64_t>;
using ScalingArgument = std::tuple<float, float, float>;

swift::kernels::Tile to_tile(const TileArgument& a) {
    return {pointer<void>(std::get<0>(a)), std::get<1>(a), std::get<2>(a),
            std::get<3>(a), std::get<4>(a), pointer<const std::int64_t>(std::get<5>(a))};
}

swift::kernels::SoftmaxState to_state(const StateArgument& a) {
    return {pointer<float>(std::get<0>(a)),  pointer<double>(std::get<1>(a)), pointer<double>(std::get<2>(a)),
            pointer<float>(std::get<3>(a)),  pointer<float>(std::get<4>(a)),  pointer<float>(std::get<5>(a)),
            std::get<6>(a)};
}

swift::kernels::Scaling to_scaling(const ScalingArgument& a) {
    return {std::get<0>(a), std::get<1>(a), std::get<2>(a)};
}

void softmax_tile(const TileArgument& tile, const StateArgument& state, const ScalingArgument& scaling, int threads) {
    nb::gil_scoped_release release;
    swift::kernels::softmax_tile(to_tile(tile), to_state(state), to_scaling(scaling), threads);
}

void softmax_gradient_tile(const TileArgument& tile, std::uintptr_t log_total, std::uintptr_t row_gradient,
                           const ScalingArgument& scaling, int threads) {
    nb::gil_scoped_release release;
    swift::kernels::softmax_gradient_tile(to_tile(tile), pointer<const float>(log_total),
                                          pointer<const float>(row_gradient), to_scaling(scaling), threads);
}

using LinearArgument = std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t>;
using LinearShape = std::tuple<std::int64_t, std::int64_t, std::int64_t>;

void skinny_linear(const LinearArgument& addresses, const LinearShape& shape, int threads) {
    nb::gil_scoped_release release;
    swift::kernels::skinny_linear(
        {pointer<const float>(std::get<0>(addresses)), pointer<const float>(std::get<1>(addresses)),
         pointer<const float>(std::get<2>(addresses)), pointer<float>(std::get<3>(addresses)), std::get<0>(shape),
         std::get<1>(shape), std::get<2>(shape)},
        threads);
}

using RowsArgument = std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t>;
using PagesArgument = std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t>;
using AttentionShape = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                                  std::int64_t, std::int64_t>;

void paged_attention(const RowsArgument& rows, const PagesArgument& pages, const AttentionShape& shape, float scale,
                     int threads) {
    nb::gil_scoped_release release;
    swift::kernels::PagedAttention work;
    work.query = pointer<const float>(std::get<0>(rows));
    work.new_key = pointer<const float>(std::get<1>(rows));
    work.new_value = pointer<const float>(std::get<2>(rows));
    work.out = pointer<float>(std::get<3>(rows));
    work.keys = pointer<float>(std::get<0>(pages));
    work.values = pointer<float>(std::get<1>(pages));
    work.table = pointer<const std::int32_t>(std::get<2>(pages));
    work.lengths = pointer<const std::int64_t>(std::get<3>(pages));
    std::tie(work.rows, work.heads, work.key_heads, work.key_size, work.value_size, work.page_size, work.table_width,
             work.window) = shape;
    work.scale = scale;
    swift::kernels::paged_attention(work, threads);
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The compiled half of swift.kernels; use the typed functions of swift.kernels instead.";
    m.def("pack", &pack, "lengths"_a.noconvert(), "capacity"_a,
          "Best-fit decreasing: (order int64[n], offsets int64[bins + 1]). See swift.kernels.pack.");
    m.def("softmax_tile", &softmax_tile, "tile"_a, "state"_a, "scaling"_a, "threads"_a,
          "Take a tile of a head's products into the softmax of its rows. See csrc/cpu/softmax_tile.h.");
    m.def("softmax_gradient_tile", &softmax_gradient_tile, "tile"_a, "log_total"_a, "row_gradient"_a, "scaling"_a,
          "threads"_a, "Turn a tile of a head's products into its gradient. See csrc/cpu/softmax_tile.h.");
    m.def("skinny_linear", &skinny_linear, "addresses"_a, "shape"_a, "threads"_a,
          "input weight^T + bias for few rows of input. See csrc/cpu/skinny_linear.h.");
    m.def("paged_attention", &paged_attention, "rows"_a, "pages"_a, "shape"_a, "scale"_a, "threads"_a,
          "Attention of one new token a row over keys and values in pages. See csrc/cpu/paged_attention.h.");
    m.def("instruction_set", &swift::kernels::instruction_set_name, "avx512, avx2 or baseline.");
}
