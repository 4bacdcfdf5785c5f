#pragma once

#include <cstdint>

namespace swift::kernels {

// One new token a row attends to the tokens before it and to itself; float32. Keys and values lie in pages of
// `page_size` tokens, and token t of row b in page table[b, t / page_size]. The new ones are written there first.
struct PagedAttention {
    const float* query;            // [rows, heads, key_size]
    const float* new_key;          // [rows, key_heads, key_size]
    const float* new_value;        // [rows, key_heads, value_size]
    float* keys;                   // [pages, key_heads, page_size, key_size]
    float* values;                 // [pages, key_heads, page_size, value_size]
    const std::int32_t* table;     // [rows, table_width]
    const std::int64_t* lengths;   // [rows]: tokens before the new one
    float* out;                    // [rows, heads, value_size]
    std::int64_t rows;
    std::int64_t heads;            // a multiple of key_heads: heads that follow each other share one
    std::int64_t key_heads;
    std::int64_t key_size;
    std::int64_t value_size;
    std::int64_t page_size;
    std::int64_t table_width;
    std::int64_t window;           // the latest tokens that are seen, the new one included; 0: all
    float scale;                   // of the products, before the softmax
};

void paged_attention(const PagedAttention& work, int threads);

}  // namespace swift::kernels
