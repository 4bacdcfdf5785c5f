#include "cpu/pack.h"

#include <algorithm>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace swift::kernels {
namespace {

using Index = std::int64_t;

void check(const std::int64_t* lengths, std::size_t n, std::int64_t capacity) {
    if (capacity < 1 || capacity > std::numeric_limits<std::int32_t>::max())
        throw std::invalid_argument("capacity is " + std::to_string(capacity) + ", it must be in [1, 2^31 - 1]");
    for (std::size_t i = 0; i < n; ++i)
        if (lengths[i] < 1 || lengths[i] > capacity)
            throw std::invalid_argument("lengths[" + std::to_string(i) + "] is " + std::to_string(lengths[i]) +
                                        ", it must be in [1, " + std::to_string(capacity) + "]");
}

// Indices by decreasing length, equal lengths by increasing index: a least-significant-digit radix sort.
// Stable by construction, and its memory does not grow with the capacity as one plain counting sort would.
std::vector<Index> sort_decreasing(const std::int64_t* lengths, std::size_t n) {
    constexpr unsigned kBits = 11;  // the 2,048 counters of a digit stay in the first-level cache
    constexpr std::int64_t kMask = (std::int64_t{1} << kBits) - 1;
    const std::int64_t longest = *std::max_element(lengths, lengths + n);
    const std::int64_t spread = longest - *std::min_element(lengths, lengths + n);

    std::vector<Index> order(n), sorted(n);
    for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<Index>(i);
    for (unsigned shift = 0; (spread >> shift) > 0; shift += kBits) {
        const auto digit = [&](Index i) { return ((longest - lengths[i]) >> shift) & kMask; };
        std::vector<std::size_t> start(std::size_t{1} << kBits, 0);
        for (Index i : order) ++start[digit(i)];
        std::size_t sum = 0;
        for (std::size_t& s : start) sum += std::exchange(s, sum);
        for (Index i : order) sorted[start[digit(i)]++] = i;
        order.swap(sorted);
    }
    return order;
}

// The open bins, ordered by (space left, bin): the first entry not below (length, 0) is the best fit.
// An ordered set and not one slot per possible space: it grows with the bins, so a capacity of a million is as cheap.
class OpenBins {
public:
    // `shortest`: no later sequence is shorter, hence a bin with less space than that is closed for good.
    explicit OpenBins(std::int64_t shortest) : shortest_(shortest) {}

    // Takes out the best bin for `length`; false if none has the space.
    bool take(std::int64_t length, std::int64_t& space, Index& bin) {
        const auto best = bins_.lower_bound({length, 0});
        if (best == bins_.end()) return false;
        space = best->first;
        bin = best->second;
        spare_.push_back(bins_.extract(best));
        return true;
    }

    void put(std::int64_t space, Index bin) {
        if (space < shortest_) return;
        if (spare_.empty()) {
            bins_.emplace(space, bin);
            return;
        }
        // Reusing the node saves an allocation for each placement.
        auto node = std::move(spare_.back());
        spare_.pop_back();
        node.value() = {space, bin};
        bins_.insert(std::move(node));
    }

private:
    using Set = std::set<std::pair<std::int64_t, Index>>;
    std::int64_t shortest_;
    Set bins_;
    std::vector<Set::node_type> spare_;
};

// bin_of[k] is the bin of the k-th longest sequence; returns the number of bins.
Index assign(const std::int64_t* lengths, const std::vector<Index>& by_length, std::int64_t capacity,
             std::vector<Index>& bin_of) {
    const std::size_t n = by_length.size();
    OpenBins open(lengths[by_length.back()]);
    Index bins = 0;
    for (std::size_t k = 0; k < n;) {
        const std::int64_t length = lengths[by_length[k]];
        std::int64_t space = capacity;
        Index bin = 0;
        if (!open.take(length, space, bin)) bin = bins++;
        // The bin just used is the fullest of those that fit, so it stays the best fit for the next equal lengths.
        do {
            bin_of[k++] = bin;
            space -= length;
        } while (k < n && lengths[by_length[k]] == length && space >= length);
        open.put(space, bin);
    }
    return bins;
}

Packing group(const std::vector<Index>& by_length, const std::vector<Index>& bin_of, Index bins) {
    Packing packing{std::vector<Index>(by_length.size()), std::vector<Index>(static_cast<std::size_t>(bins) + 1, 0)};
    for (Index bin : bin_of) ++packing.offsets[bin + 1];
    for (Index bin = 0; bin < bins; ++bin) packing.offsets[bin + 1] += packing.offsets[bin];
    std::vector<Index> next(packing.offsets.begin(), packing.offsets.end() - 1);
    for (std::size_t k = 0; k < by_length.size(); ++k) packing.order[next[bin_of[k]]++] = by_length[k];
    return packing;
}

}  // namespace

Packing pack(const std::int64_t* lengths, std::size_t n, std::int64_t capacity) {
    check(lengths, n, capacity);
    if (n == 0) return {{}, {0}};
    const std::vector<Index> by_length = sort_decreasing(lengths, n);
    std::vector<Index> bin_of(n);
    const Index bins = assign(lengths, by_length, capacity, bin_of);
    return group(by_length, bin_of, bins);
}

}  // namespace swift::kernels
