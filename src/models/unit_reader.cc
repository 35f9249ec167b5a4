// Reading and packing in one place: see unit_reader.h.
#include "models/unit_reader.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {

UnitReader::UnitReader(const ModelFile& file, std::unique_ptr<IoBackend> io, std::span<std::byte> rooms, Bytes room)
    : io_(std::move(io)), rooms_(rooms), room_(room), reader_(*io_) {
  for (const auto& path : file.files()) files_.push_back(File::open_read(path));
}

UnitReader::Unit UnitReader::start(const WeightPlacement& weight, std::byte* memory) {
  const InPlace place = InPlace::of(weight);
  const std::span<std::byte> buffer(memory + place.read.count,
                                    round_up(place.needed, Bytes{RangeReader::kBlock}).size());
  const std::int64_t offset = weight.file_offset() / RangeReader::kBlock * RangeReader::kBlock;
  const File& file = files_[static_cast<std::size_t>(weight.source->file)];
  return {&weight, memory, reader_.start(file, offset, buffer, place.needed.count)};
}

const std::byte* UnitReader::finish(const Context& context, const Unit& unit) {
  const WeightPlacement& weight = *unit.weight;
  const InPlace place = InPlace::of(weight);
  std::byte* const packed = unit.memory + place.packed.count;
  const MatrixPacker packer(context.kernels.path, &context.pool, weight, rooms_, room_, packed);
  const std::int64_t before = (place.rows - place.read).count, row = weight.file_row().count;
  const Index rows = weight.file_rows(), block = in_place_rows(weight);
  Index done = 0;
  for (std::int64_t bytes = 0; done < rows;) {
    bytes = std::min(bytes + RangeReader::kRequest.count, place.needed.count);
    with_context([&] { return fmt::format("tensor '{}'", weight.source->name); },
                 [&] { reader_.wait(unit.ticket, bytes); });
    const Index there = bytes == place.needed.count ? rows : std::max<Index>(0, bytes - before) / row / block * block;
    if (there <= done) continue;
    packer.pack_in_place(unit.memory + place.rows.count + done * row, done, there - done);
    done = there;
  }
  reader_.end(unit.ticket);
  const std::int64_t begin = weight.file_offset() / RangeReader::kBlock * RangeReader::kBlock;
  files_[static_cast<std::size_t>(weight.source->file)].drop_cache(begin,
                                                                   round_up(place.needed, Bytes{RangeReader::kBlock}));
  return packed;
}

}  // namespace jericho
