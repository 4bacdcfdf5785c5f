// Registration only: checks of shape and dtype, the GIL, ownership. The algorithms are in cpu/<op>.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <utility>
#include <vector>

#include "cpu/pack.h"

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

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The compiled half of swift.kernels; use the typed functions of swift.kernels instead.";
    m.def("pack", &pack, "lengths"_a.noconvert(), "capacity"_a,
          "Best-fit decreasing: (order int64[n], offsets int64[bins + 1]). See swift.kernels.pack.");
}
