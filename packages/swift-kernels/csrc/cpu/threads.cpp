#include "cpu/threads.h"

#include <algorithm>
#include <atomic>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace swift::kernels {
namespace {

// The entry point that compilers call for `#pragma omp parallel`; libgomp and libomp have it.
using Parallel = void (*)(void (*work)(void*), void* data, unsigned threads, unsigned flags);

Parallel find_parallel() {
#if defined(__unix__) || defined(__APPLE__)
    return reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
#else
    return nullptr;
#endif
}

struct Work {
    std::atomic<std::int64_t> next;
    std::int64_t count;
    std::int64_t part;
    const std::function<void(std::int64_t, std::int64_t)>* body;
};

void run(void* data) {
    Work& work = *static_cast<Work*>(data);
    for (;;) {
        const std::int64_t first = work.next.fetch_add(work.part);
        if (first >= work.count) return;
        (*work.body)(first, std::min(first + work.part, work.count));
    }
}

}  // namespace

void on_threads(int threads, std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
    static const Parallel parallel = find_parallel();
    if (threads < 2 || parallel == nullptr) return body(0, count);
    const std::int64_t parts = std::int64_t{threads} * 4;  // small enough to even out what else the cores do
    Work work{{0}, count, std::max<std::int64_t>(1, (count + parts - 1) / parts), &body};
    parallel(run, &work, static_cast<unsigned>(threads), 0);
}

}  // namespace swift::kernels
