// Reads weights from a model file in the order asked for, a chunk of rows at a time, ahead of their use: what loading,
// conversion and comparison have in common. Start at next().
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/model_file.h"
#include "memory/file.h"
#include "memory/io.h"
#include "memory/stream_reader.h"
#include "models/weights.h"

namespace jericho {

struct WeightRows {  // rows as the file keeps them (StoredForm)
  const WeightPlacement* weight = nullptr;
  Index first = 0;  // of weight->file_rows()
  Index rows = 0;
  std::span<const std::byte> bytes{};  // rows * weight->file_row(), valid until the next call
};

// One thread. The file, the placements and the backend outlive the reader.
class WeightReader {
 public:
  // Room for two chunks: one in use while the next is read.
  static Bytes staging_bytes(const WeightLayout& layout);

  // `weights` in the order in which next() gives them; `staging` has staging_bytes() and starts on a multiple of 4096.
  WeightReader(const ModelFile& file, const WeightLayout& layout, std::vector<const WeightPlacement*> weights,
               IoBackend& io, std::span<std::byte> staging);

  // The next chunk; nothing after the last. Errors name the tensor, else as StreamReader::next().
  std::optional<WeightRows> next(const std::stop_token& stop);

 private:
  std::vector<const WeightPlacement*> weights_;
  std::vector<File> files_;
  StreamReader reader_;
  std::size_t weight_ = 0;  // of the next chunk
  Index row_ = 0;
};

}  // namespace jericho
