// Reads weights from a model file in the order asked for, a chunk of rows at a time, ahead of their use: what loading,
// conversion and comparison have in common. Start at next().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/model_file.h"
#include "formats/repacking.h"
#include "memory/file.h"
#include "memory/io.h"
#include "memory/stream_reader.h"
#include "models/weights.h"

namespace jericho {

struct WeightRows {  // rows as the file keeps them (StoredForm): in `bytes`, or all of them in the hands of `decoder`
  const WeightPlacement* weight = nullptr;
  Index first = 0;  // of weight->file_rows()
  Index rows = 0;
  std::span<const std::byte> bytes{};           // rows * weight->file_row(), valid until the next call
  const RowDecoder* decoder = nullptr;          // makes rows of the whole source tensor; valid until the next call
  std::span<const std::int32_t> input_order{};  // of the columns in `bytes`, where they have one (RowDecoder)

  Bytes stored_bytes{};  // that were read for them: none where the weight before has the same decoder
};

// One thread. The file, the placements and the backend outlive the reader.
class WeightReader {
 public:
  // Room for two chunks, one in use while the next is read, and for the stored parts of one weight where there are
  // such.
  static Bytes staging_bytes(const WeightLayout& layout);

  // `weights` in the order in which next() gives them: those that share stored parts, one after the other, share one
  // reading of them; `staging` has staging_bytes() and starts on a multiple of 4096.
  WeightReader(const ModelFile& file, const WeightLayout& layout, std::vector<const WeightPlacement*> weights,
               IoBackend& io, std::span<std::byte> staging);

  // The next chunk; nothing after the last. Errors name the tensor, else as StreamReader::next().
  std::optional<WeightRows> next(const std::stop_token& stop);

 private:
  void read_parts(const Repacking& repacking, const std::stop_token& stop);

  std::vector<const WeightPlacement*> weights_;
  std::vector<File> files_;
  std::span<std::byte> parts_;  // of the weight whose rows decoder_ makes
  StreamReader reader_;
  std::unique_ptr<RowDecoder> decoder_;
  const TensorInfo* decoded_ = nullptr;  // what decoder_ makes rows of
  std::size_t weight_ = 0;               // of the next chunk
  Index row_ = 0;
};

}  // namespace jericho
