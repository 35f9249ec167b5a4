// Rows of an embedding that is not in memory, read from its file as tokens need them: one row per token, where a pass
// over everything else reads whole matrices. Start at read().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "base/cpu.h"
#include "memory/file.h"
#include "memory/io.h"
#include "models/weights.h"
#include "tensor/view.h"

namespace jericho {

// One thread. `table` outlives the rows; a plain matrix of a file, in its type.
class EmbeddingRows {
 public:
  static Bytes staging_bytes(const WeightPlacement& table);
  // `staging` has staging_bytes() and starts on a multiple of 4096.
  EmbeddingRows(const WeightPlacement& table, File file, std::unique_ptr<IoBackend> io, std::span<std::byte> staging,
                CpuPath path);

  // y[t] = row ids[t] as fp32, the values that dequantize_row() has of the packed table. A row asked for several times
  // is read once. Errors as StreamReader::next(), with the name of the tensor; the next call starts afresh.
  void read(std::span<const std::int32_t> ids, MatrixView<float> y);

 private:
  const WeightPlacement& table_;
  File file_;
  std::unique_ptr<IoBackend> io_;
  std::span<std::byte> staging_;
  CpuPath path_;
};

}  // namespace jericho
