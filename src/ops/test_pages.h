// For tests of attention over pages: memory on a cache line, and a text of random keys and values in pages of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/random_row.h"
#include "ops/kv_select.h"
#include "ops/paged_attention.h"

namespace jericho {

// From the first cache line on.
inline std::span<std::byte> aligned(std::vector<std::byte>& bytes) {
  const std::size_t off = reinterpret_cast<std::uintptr_t>(bytes.data()) % 64;
  return std::span(bytes).subspan(off == 0 ? 0 : 64 - off);
}

// What parsing a selection says against it.
inline std::string refusal(std::string_view text) {
  try {
    static_cast<void>(parse_kv_select(text));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "accepted";
}

// One sequence, the same keys and values in every layer.
struct PagedText {
  PagedText(const Context& context_in, const KvLayout& layout_in, Index length_in)
      : context(context_in), layout(layout_in), length(length_in) {
    const Index count = ceil_div(length, kPageTokens);
    bytes.resize((layout.page_bytes() * count).size() + 64);
    for (Index p = 0; p < count; ++p) list.push_back(aligned(bytes).data() + p * layout.page_bytes().count);
    tables.emplace_back(list);
    const Index width = layout.kv_heads * layout.head_dim;
    keys = random_row(length * width, 20, Values::kPlain, 1.0f);
    values = random_row(length * width, 40, Values::kPlain, 1.0f);
  }
  PagedText(const PagedText&) = delete;
  PagedText& operator=(const PagedText&) = delete;

  static std::vector<BatchRow> rows_of(Index first, Index end, bool selects = false) {
    std::vector<BatchRow> rows;
    for (Index p = first; p < end; ++p) rows.push_back({0, p, selects});
    return rows;
  }
  // Positions [first, end) of all layers.
  void store_pages(Index first, Index end) {
    const std::vector<BatchRow> rows = rows_of(first, end);
    const Index width = layout.kv_heads * layout.head_dim;
    for (Index layer = 0; layer < layout.layers; ++layer)
      store_kv(context, layout, layer, rows, {keys.data() + first * width, end - first, width},
               {values.data() + first * width, end - first, width}, tables);
  }
  // A key or value as it is read.
  [[nodiscard]] std::vector<float> stored(Index position, Index head, bool value, Index layer = 0) const {
    std::vector<float> row(static_cast<std::size_t>(layout.head_dim));
    const Bytes offset = value ? layout.value_offset(layer, head) : layout.key_offset(layer, head);
    kv_load(value ? layout.type.values : layout.type.keys,
            list[static_cast<std::size_t>(position / kPageTokens)] + offset.count, layout.head_dim,
            position % kPageTokens, row.data());
    return row;
  }

  const Context& context;
  KvLayout layout;
  Index length;
  std::vector<std::byte> bytes{};
  std::vector<std::byte*> list{};
  std::vector<std::span<std::byte* const>> tables{};
  std::vector<float> keys{}, values{};
};

}  // namespace jericho
