#pragma once

#include <cstdint>
#include <functional>

namespace swift::kernels {

// Calls body(first, last) for parts of [0, count), on up to `threads` threads of the pool that OpenMP keeps for torch.
// A second pool would compete with the first one's threads, which spin for a while after each operator of torch.
// Without OpenMP in the process everything runs on this thread.
void on_threads(int threads, std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace swift::kernels
