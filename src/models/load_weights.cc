// From the file's rows to the arena: chunks come in file order (weight_reader.h), and each is turned into what the model
// multiplies with while the next is on its way. Start at ModelWeights::load(); see weights.h.
#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "base/check.h"
#include "kernels/file_rows.h"
#include "models/stored_form.h"
#include "models/weight_reader.h"
#include "models/weights.h"

namespace jericho {
namespace {

// Each thread's own room while a strip is packed: 16 rows in the file's type or the memory's, and one row of values.
struct StripRoom {
  static Bytes strip_rows_bytes(const WeightPlacement& p) {
    return round_up(std::max(p.file_row(), storage_bytes(p.dtype, p.spec.cols)) * kStripRows, 64_B);
  }
  static Bytes rows_bytes(const WeightPlacement& p) {  // decoded rows have their own place before they are converted
    return strip_rows_bytes(p) * (p.repacking() == nullptr ? 1 : 2);
  }
  static Bytes values_bytes(const WeightPlacement& p) { return Bytes{4 * std::max(p.spec.cols, p.file_cols())}; }
  static Bytes bytes(const WeightLayout& layout) {
    Bytes rows{}, values{};
    for (const WeightPlacement& p : layout.placements()) {
      rows = std::max(rows, round_up(rows_bytes(p), 64_B));
      values = std::max(values, round_up(values_bytes(p), 64_B));
    }
    return rows + values;
  }
};

Bytes rooms_bytes(const WeightLayout& layout, int threads) {
  return round_up(StripRoom::bytes(layout) * threads, 4096_B);
}

Bytes turned_bytes(const WeightLayout& layout) {
  Bytes most{};
  for (const WeightPlacement& p : layout.placements()) most = std::max(most, p.turned_bytes());
  return round_up(most, 4096_B);
}

// Packs rows [first, first + rows) of a matrix from `chunk`, which holds them in the file's form, or from a decoder.
class MatrixPacker {
 public:
  MatrixPacker(const Context& context, const WeightPlacement& placement, std::span<std::byte> rooms, Bytes room,
               std::byte* matrix)
      : context_(context),
        kernels_(file_row_kernels_for(context.kernels.path)),
        p_(placement),
        rooms_(rooms),
        room_(room),
        matrix_(matrix) {}

  void pack(std::span<const std::byte> chunk, Index first, Index rows) const {
    const Bytes strip = strip_bytes(p_.dtype, p_.spec.cols);
    const auto one = [&](Index part, int worker) {
      const Index begin = part * kStripRows;
      const Index count = std::min(kStripRows, rows - begin);
      std::byte* to = matrix_ + (first + begin) / kStripRows * strip.count;
      pack_rows(chunk, begin, count, rooms_.data() + worker * room_.count, to);
    };
    context_.pool.run(ceil_div(rows, kStripRows), std::ref(one));
  }

  void pack_decoded(const RowDecoder& decoder) const {
    const Bytes strip = strip_bytes(p_.dtype, p_.spec.cols);
    if (p_.ordered()) {
      const auto order = std::as_bytes(decoder.input_order());
      std::copy(order.begin(), order.end(), matrix_ + packed_bytes(p_.dtype, p_.spec.rows, p_.spec.cols).count);
    }
    const auto one = [&](Index part, int worker) {
      const Index first = part * kStripRows;
      pack_decoded_rows(decoder, first, std::min(kStripRows, p_.spec.rows - first),
                        rooms_.data() + worker * room_.count, matrix_ + part * strip.count);
    };
    context_.pool.run(ceil_div(p_.spec.rows, kStripRows), std::ref(one));
  }

  // Of blocks that the file keeps transposed: their values go to `turned` first, row after row of the file.
  void pack_turned(const WeightRows& stored, float* turned) const {
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
    context_.pool.run(rows, std::ref(values));
    const Bytes strip = strip_bytes(p_.dtype, p_.spec.cols);
    const auto pack_one = [&](Index part, int worker) {
      const Index begin = part * kStripRows, count = std::min(kStripRows, p_.spec.rows - begin);
      std::byte* room = rooms_.data() + worker * room_.count;
      gather_columns(reinterpret_cast<const std::byte*>(turned), begin, count, room);
      kernels_.pack_strip(p_.dtype, p_.spec.cols, room, storage_bytes(p_.dtype, p_.spec.cols), count,
                          matrix_ + part * strip.count);
    };
    context_.pool.run(ceil_div(p_.spec.rows, kStripRows), std::ref(pack_one));
  }

 private:
  void pack_decoded_rows(const RowDecoder& decoder, Index first, Index count, std::byte* room, std::byte* to) const {
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

  void pack_rows(std::span<const std::byte> chunk, Index begin, Index count, std::byte* room, std::byte* to) const {
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

  // Rows of the weight are columns of the file.
  void gather_columns(const std::byte* rows, Index begin, Index count, std::byte* room) const {
    const std::size_t size = info(p_.dtype).block_bytes.size();
    const Bytes stride = storage_bytes(p_.dtype, p_.file_cols());
    for (Index k = 0; k < p_.spec.cols; ++k) {
      const std::byte* from = rows + k * stride.count + begin * static_cast<Index>(size);
      for (Index r = 0; r < count; ++r) {
        std::memcpy(room + (r * p_.spec.cols + k) * static_cast<Index>(size), from + r * static_cast<Index>(size),
                    size);
      }
    }
  }

  [[nodiscard]] float* row_room(std::byte* room) const {
    return reinterpret_cast<float*>(room + StripRoom::rows_bytes(p_).count);
  }

  [[nodiscard]] const std::byte* file_row(std::span<const std::byte> chunk, Index row) const {
    return chunk.data() + row * p_.file_row().count;
  }

  const Context& context_;
  const FileRowKernels& kernels_;
  const WeightPlacement& p_;
  std::span<std::byte> rooms_;
  Bytes room_;
  std::byte* matrix_;
};

// Values [first, first + rows) of a weight that is kept as fp32.
void copy_values(const FileRowKernels& kernels, const WeightPlacement& p, std::span<const std::byte> chunk, Index first,
                 Index rows, std::span<float> row_values, float* to) {
  const Index cols = p.spec.cols;
  for (Index r = 0; r < rows; ++r) {
    kernels.dequantize_file_row(p.source->dtype, cols, chunk.data() + r * p.file_row().count, row_values.data());
    restore_values(p.form.values, row_values.first(static_cast<std::size_t>(cols)));
    float* row = to + (first + r) * cols;
    for (Index c = 0; c < cols; ++c) {
      row[c] = row_values[static_cast<std::size_t>(p.spec.rows == 1 ? file_row_of(p.form.pairs, c) : c)];
    }
  }
}

}  // namespace

Bytes ModelWeights::staging_bytes(const WeightLayout& layout, int threads) {
  return WeightReader::staging_bytes(layout) + turned_bytes(layout) + rooms_bytes(layout, threads);
}

ModelWeights ModelWeights::load(const Context& context, const ModelConfig& config, const WeightLayout& layout,
                                const ModelFile& file, Arena arena, IoBackend& io, std::span<std::byte> staging,
                                const std::stop_token& stop, const Progress& progress) {
  ModelWeights weights(config, layout, std::move(arena));
  std::vector<const WeightPlacement*> in_file_order;
  for (const WeightPlacement& placement : layout.placements()) in_file_order.push_back(&placement);
  std::sort(in_file_order.begin(), in_file_order.end(), [](const WeightPlacement* a, const WeightPlacement* b) {
    return std::pair(a->source->file, a->file_offset()) < std::pair(b->source->file, b->file_offset());
  });
  const auto rooms = staging.first(rooms_bytes(layout, context.pool.threads()).size());
  const auto turned = staging.subspan(rooms.size(), turned_bytes(layout).size());
  const Bytes room = StripRoom::bytes(layout);
  WeightReader reader(file, layout, std::move(in_file_order), io, staging.subspan(rooms.size() + turned.size()));
  Bytes done{};
  while (const std::optional<WeightRows> chunk = reader.next(stop)) {
    const WeightPlacement& p = *chunk->weight;
    std::byte* to = weights.arena_.bytes().data() + p.offset.count;
    if (p.spec.is_matrix()) {
      const Index first = p.form.transposed ? 0 : chunk->first;
      const Index rows = p.form.transposed ? p.spec.rows : chunk->rows;
      const MatrixPacker packer(context, p, rooms, room, to);
      if (p.turns_values()) {
        packer.pack_turned(*chunk, reinterpret_cast<float*>(turned.data()));
      } else if (chunk->decoder != nullptr) {
        packer.pack_decoded(*chunk->decoder);
      } else {
        packer.pack(chunk->bytes, first, rows);
      }
    } else {
      copy_values(file_row_kernels_for(context.kernels.path), p, chunk->bytes, chunk->first, chunk->rows,
                  {reinterpret_cast<float*>(rooms.data()), rooms.size() / 4}, reinterpret_cast<float*>(to));
    }
    done += chunk->stored_bytes;
    if (progress) progress(done, layout.file_bytes());
  }
  return weights;
}

}  // namespace jericho
