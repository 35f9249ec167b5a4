// Strips, one by one: see matrix_packer.h.
#include "models/matrix_packer.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

#include "base/check.h"
#include "memory/range_reader.h"
#include "models/stored_form.h"

namespace jericho {

Bytes StripRoom::strip_rows_bytes(const WeightPlacement& p) {
  return round_up(std::max(p.file_row(), storage_bytes(p.dtype, p.spec.cols)) * kStripRows, 64_B);
}

Bytes StripRoom::rows_bytes(const WeightPlacement& p) {
  return strip_rows_bytes(p) * (p.repacking() == nullptr ? 1 : 2);
}

Bytes StripRoom::values_bytes(const WeightPlacement& p) { return Bytes{4 * std::max(p.spec.cols, p.file_cols())}; }

Index in_place_rows(const WeightPlacement& p) {
  return std::lcm(kStripRows, std::max<Index>(1, p.form.pairs.head_rows));
}

InPlace InPlace::of(const WeightPlacement& p) {
  constexpr std::int64_t kBlock = RangeReader::kBlock;
  const std::int64_t offset = p.file_offset(), in_block = offset % kBlock;
  const Bytes stored = p.file_row() * p.file_rows();
  // Packed strips may be longer than their rows; the last of them ends with the memory at the latest.
  const Bytes growth = (strip_bytes(p.dtype, p.spec.cols) - p.file_row() * kStripRows) * (p.spec.rows / kStripRows);
  const std::int64_t lead = round_up(std::max<std::int64_t>(0, growth.count - in_block), kBlock);
  InPlace place;
  place.read = Bytes{lead};
  place.rows = Bytes{lead + in_block};
  place.packed = Bytes{(lead + in_block - growth.count) / 64 * 64};
  place.needed = Bytes{in_block} + stored;
  place.size = round_up(std::max(place.rows + stored, place.packed + p.size), Bytes{kBlock});
  return place;
}

// A block of rows that is being packed, one that a part leaves to the end, and a strip's own room.
Bytes InPlace::room_bytes(const WeightPlacement& p) {
  return round_up(p.file_row() * in_place_rows(p), 64_B) * 2 + StripRoom::rows_bytes(p);
}

void LargestStripRoom::add(const WeightPlacement& p) {
  rows_ = std::max(rows_, round_up(StripRoom::rows_bytes(p), 64_B));
  values_ = std::max(values_, round_up(StripRoom::values_bytes(p), 64_B));
}

void MatrixPacker::each(Index parts, FunctionRef<void(Index part, int worker)> body) const {
  if (pool_ != nullptr) return pool_->run(parts, body);
  for (Index part = 0; part < parts; ++part) body(part, 0);
}

void MatrixPacker::pack(std::span<const std::byte> chunk, Index first, Index rows) const {
  const Bytes strip = strip_bytes(p_.dtype, p_.spec.cols);
  const auto one = [&](Index part, int worker) {
    const Index begin = part * kStripRows;
    const Index count = std::min(kStripRows, rows - begin);
    std::byte* to = matrix_ + (first + begin) / kStripRows * strip.count;
    pack_rows(chunk, begin, count, rooms_.data() + worker * room_.count, to);
  };
  each(ceil_div(rows, kStripRows), std::ref(one));
}

// Threads pack parts of consecutive blocks. Where strips lie a little before their rows, the first strip of a part is
// written over the last rows of the part before, which are therefore set aside first. Where strips are longer than
// their rows, one thread packs alone.
void MatrixPacker::pack_in_place(const std::byte* file_rows, Index first, Index rows) const {
  const Index block = in_place_rows(p_);
  const Bytes row = p_.file_row(), strip = strip_bytes(p_.dtype, p_.spec.cols);
  const Bytes block_bytes = round_up(row * block, 64_B);
  std::byte* const to = matrix_ + first / kStripRows * strip.count;
  const Index blocks = ceil_div(rows, block);
  JERICHO_CHECK(to <= file_rows && first % block == 0, "rows from {} lie {} B before their strips", first,
                to - file_rows);
  const bool alone = pool_ == nullptr || strip != row * kStripRows;
  const Index parts = alone ? 1 : std::min<Index>(pool_->threads(), blocks);
  const auto begin_of = [&](Index part) { return blocks * part / parts; };
  const auto copy_block = [&](Index b, std::byte* room) {
    const Index count = std::min(block, rows - b * block);
    std::memcpy(room, file_rows + b * block * row.count, (row * count).size());
  };
  const auto aside = [&](Index part) { return rooms_.data() + part * room_.count + block_bytes.count; };
  const auto set_aside = [&](Index part, int) { copy_block(begin_of(part + 1) - 1, aside(part)); };
  const bool overlap = to != file_rows;
  if (overlap && parts > 1) pool_->run(parts - 1, std::ref(set_aside));
  const auto pack_part = [&](Index part, int) {
    std::byte* const room = rooms_.data() + part * room_.count;
    std::byte* const strip_room = room + 2 * block_bytes.count;
    for (Index b = begin_of(part); b < begin_of(part + 1); ++b) {
      const bool was_set_aside = overlap && part + 1 < parts && b + 1 == begin_of(part + 1);
      if (!was_set_aside) copy_block(b, room);
      const Index count = std::min(block, rows - b * block);
      const std::span<const std::byte> from(was_set_aside ? aside(part) : room, (row * count).size());
      for (Index begin = 0; begin < count; begin += kStripRows) {
        pack_rows(from, begin, std::min(kStripRows, count - begin), strip_room,
                  to + (b * block + begin) / kStripRows * strip.count);
      }
    }
  };
  if (parts == 1) return pack_part(0, 0);
  pool_->run(parts, std::ref(pack_part));
}

void MatrixPacker::pack_decoded(const RowDecoder& decoder) const {
  const Bytes strip = strip_bytes(p_.dtype, p_.spec.cols);
  if (p_.ordered()) {
    const auto order = std::as_bytes(decoder.input_order());
    std::copy(order.begin(), order.end(), matrix_ + packed_bytes(p_.dtype, p_.spec.rows, p_.spec.cols).count);
  }
  const auto one = [&](Index part, int worker) {
    const Index first = part * kStripRows;
    pack_decoded_rows(decoder, first, std::min(kStripRows, p_.spec.rows - first), rooms_.data() + worker * room_.count,
                      matrix_ + part * strip.count);
  };
  each(ceil_div(p_.spec.rows, kStripRows), std::ref(one));
}

void MatrixPacker::pack_turned(const WeightRows& stored, float* turned) const {
  const Index rows = p_.file_rows(), cols = p_.file_cols();
  const auto values = [&](Index row, int worker) {
    std::byte* room = rooms_.data() + worker * room_.count;
    const std::byte* blocks = room;
    if (stored.decoder != nullptr) {
      stored.decoder->decode(p_.form.parts.front().first_row + row, 1, room);
    } else {
      blocks = file_row(stored.bytes, row);
    }
    const auto order = stored.decoder != nullptr ? stored.decoder->input_order() : std::span<const std::int32_t>();
    dequantize_in_input_order(p_.source->dtype, cols, order, blocks, row_room(room), turned + row * cols);
  };
  each(rows, std::ref(values));
  const Bytes strip = strip_bytes(p_.dtype, p_.spec.cols);
  const auto pack_one = [&](Index part, int worker) {
    const Index begin = part * kStripRows, count = std::min(kStripRows, p_.spec.rows - begin);
    std::byte* room = rooms_.data() + worker * room_.count;
    gather_columns(reinterpret_cast<const std::byte*>(turned), begin, count, room);
    kernels_.pack_strip(p_.dtype, p_.spec.cols, room, storage_bytes(p_.dtype, p_.spec.cols), count,
                        matrix_ + part * strip.count);
  };
  each(ceil_div(p_.spec.rows, kStripRows), std::ref(pack_one));
}

void MatrixPacker::pack_decoded_rows(const RowDecoder& decoder, Index first, Index count, std::byte* room,
                                     std::byte* to) const {
  const Index cols = p_.spec.cols;
  const Bytes row = p_.file_row();
  const Index part = p_.form.parts.front().first_row;
  if (p_.form.pairs.count == 0) {
    decoder.decode(part + first, count, room);
  } else {
    for (Index r = 0; r < count; ++r) {
      decoder.decode(part + file_row_of(p_.form.pairs, first + r), 1, room + r * row.count);
    }
  }
  if (p_.source->dtype == p_.dtype) return kernels_.pack_strip(p_.dtype, cols, room, row, count, to);
  JERICHO_CHECK(p_.dtype == DType::kF32, "{} becomes {}", name(p_.source->dtype), name(p_.dtype));
  std::byte* values = room + StripRoom::strip_rows_bytes(p_).count;
  for (Index r = 0; r < count; ++r) {
    dequantize_in_input_order(p_.source->dtype, cols, decoder.input_order(), room + r * row.count, row_room(room),
                              reinterpret_cast<float*>(values) + r * cols);
  }
  kernels_.pack_strip(p_.dtype, cols, values, storage_bytes(p_.dtype, cols), count, to);
}

void MatrixPacker::pack_rows(std::span<const std::byte> chunk, Index begin, Index count, std::byte* room,
                             std::byte* to) const {
  const Index cols = p_.spec.cols;
  const Bytes row = storage_bytes(p_.dtype, cols);
  if (p_.form.transposed) {
    gather_columns(chunk.data(), begin, count, room);
  } else if (p_.source->dtype != p_.dtype) {
    float* values = row_room(room);
    JERICHO_CHECK(p_.dtype == DType::kF32, "{} becomes {}", name(p_.source->dtype), name(p_.dtype));
    for (Index r = 0; r < count; ++r) {
      kernels_.dequantize_file_row(p_.source->dtype, cols, file_row(chunk, begin + r), values);
      std::memcpy(room + r * row.count, values, row.size());
    }
  } else if (p_.form.pairs.count == 0) {
    kernels_.pack_strip(p_.dtype, cols, file_row(chunk, begin), p_.file_row(), count, to);
    return;
  } else {
    for (Index r = 0; r < count; ++r) {
      std::memcpy(room + r * row.count, file_row(chunk, file_row_of(p_.form.pairs, begin + r)), row.size());
    }
  }
  kernels_.pack_strip(p_.dtype, cols, room, row, count, to);
}

void MatrixPacker::gather_columns(const std::byte* rows, Index begin, Index count, std::byte* room) const {
  const std::size_t size = info(p_.dtype).block_bytes.size();
  const Bytes stride = storage_bytes(p_.dtype, p_.file_cols());
  for (Index k = 0; k < p_.spec.cols; ++k) {
    const std::byte* from = rows + k * stride.count + begin * static_cast<Index>(size);
    for (Index r = 0; r < count; ++r) {
      std::memcpy(room + (r * p_.spec.cols + k) * static_cast<Index>(size), from + r * static_cast<Index>(size), size);
    }
  }
}

float* MatrixPacker::row_room(std::byte* room) const {
  return reinterpret_cast<float*>(room + StripRoom::rows_bytes(p_).count);
}

const std::byte* MatrixPacker::file_row(std::span<const std::byte> chunk, Index row) const {
  return chunk.data() + row * p_.file_row().count;
}

}  // namespace jericho
