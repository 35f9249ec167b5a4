// Small reads, many at once: see embedding_rows.h.
#include "models/embedding_rows.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "kernels/file_rows.h"
#include "memory/stream_reader.h"

namespace jericho {
namespace {

constexpr int kSlots = 16;  // rows on their way at once

}  // namespace

Bytes EmbeddingRows::staging_bytes(const WeightPlacement& table) {
  return StreamReader::staging_bytes(table.file_row(), kSlots);
}

EmbeddingRows::EmbeddingRows(const WeightPlacement& table, File file, std::unique_ptr<IoBackend> io,
                             std::span<std::byte> staging, CpuPath path)
    : table_(table), file_(std::move(file)), io_(std::move(io)), staging_(staging), path_(path) {}

void EmbeddingRows::read(std::span<const std::int32_t> ids, MatrixView<float> y) {
  const Bytes row = table_.file_row();
  const Index cols = table_.spec.cols;
  const FileRowKernels& kernels = file_row_kernels_for(path_);
  std::vector<std::pair<std::int32_t, Index>> wanted;  // id and where it goes
  for (std::size_t t = 0; t < ids.size(); ++t) {
    JERICHO_CHECK(ids[t] >= 0 && ids[t] < table_.spec.rows, "token id {} of {}", ids[t], table_.spec.rows);
    wanted.emplace_back(ids[t], static_cast<Index>(t));
  }
  std::sort(wanted.begin(), wanted.end());
  const auto is_new = [&](std::size_t i) { return i == 0 || wanted[i].first != wanted[i - 1].first; };
  StreamReader reader(*io_, staging_, {.slot_bytes = StreamReader::slot_bytes(row)});
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (is_new(i)) reader.enqueue(file_, table_.file_offset() + wanted[i].first * row.count, row);
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    float* const to = y.row(wanted[i].second).data();
    if (is_new(i)) {
      const auto bytes =
          with_context([&] { return fmt::format("tensor '{}'", table_.source->name); }, [&] { return reader.next(); });
      kernels.dequantize_file_row(table_.source->dtype, cols, bytes.data(), to);
    } else {
      std::copy_n(y.row(wanted[i - 1].second).data(), cols, to);
    }
  }
}

}  // namespace jericho
