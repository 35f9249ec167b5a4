// Reads matrices from a model file to where they are to lie, any number ahead of their use, and packs them there
// (matrix_packer.h): what brings the weights that are not in memory. Start at start() and finish().
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/model_file.h"
#include "memory/file.h"
#include "memory/io.h"
#include "memory/range_reader.h"
#include "models/matrix_packer.h"
#include "models/weights.h"
#include "ops/context.h"

namespace jericho {

// One thread.
class UnitReader {
 public:
  struct Unit {  // that was started
    const WeightPlacement* weight = nullptr;
    std::byte* memory = nullptr;
    RangeReader::Ticket ticket{};
  };

  // `rooms` has `room` bytes, the largest InPlace::room_bytes(), for each thread of the contexts to come.
  UnitReader(const ModelFile& file, std::unique_ptr<IoBackend> io, std::span<std::byte> rooms, Bytes room);

  // Begins to read a weight into `memory`, page-aligned, of InPlace::of(weight).size, which stays until the end.
  Unit start(const WeightPlacement& weight, std::byte* memory);
  // Waits for it, packs what has come on the context's threads while the rest is on its way, and says where it lies.
  // Throws as RangeReader::wait(), with the tensor's name; the unit is forgotten then too.
  const std::byte* finish(const Context& context, const Unit& unit);
  // Waits for it and forgets it.
  void drop(const Unit& unit) { reader_.end(unit.ticket); }
  void poll() { reader_.poll(); }
  [[nodiscard]] std::chrono::steady_clock::time_point last_arrival() const { return reader_.last_arrival(); }
  [[nodiscard]] bool idle() {  // nothing is on its way
    reader_.poll();
    return reader_.idle();
  }

 private:
  std::vector<File> files_;
  std::unique_ptr<IoBackend> io_;
  std::span<std::byte> rooms_;
  Bytes room_;
  RangeReader reader_;
};

}  // namespace jericho
