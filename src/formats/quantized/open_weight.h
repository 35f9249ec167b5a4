// For tests only: opens a quantized checkpoint and decodes one of its weights.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "formats/input_file.h"
#include "formats/model_file.h"
#include "formats/quantized/test_checkpoints.h"
#include "formats/repacking.h"
#include "formats/test_files.h"
#include "tensor/block_formats.h"
#include "tensor/row_formats.h"

namespace jericho::quantized {

// The value of every element of rows of `dtype`, from the structs of the formats.
inline std::vector<float> values_of_rows(DType dtype, Index elements, const std::vector<std::byte>& rows) {
  std::vector<float> out;
  const auto* block = reinterpret_cast<const std::uint8_t*>(rows.data());
  const Index step = info(dtype).block_elements;
  for (Index at = 0; at < elements; at += step, block += info(dtype).block_bytes.count) {
    visit_row_format(
        dtype,
        [&]<class Format>() {
          for (Index j = 0; j < step; ++j) out.push_back(Format::value(block, j));
        },
        [&] {
          visit_block_format(
              dtype,
              [&]<class Format>() {
                std::vector<std::uint8_t> codes(static_cast<std::size_t>(step));
                std::vector<std::uint8_t> fields;
                for (const ScaleField& field : Format::kScaleFields) {
                  fields.insert(fields.end(), block + field.offset, block + field.offset + field.width());
                }
                Format::codes(block, codes.data());
                const GroupScale scale = Format::scale(fields.data(), 0);
                for (const std::uint8_t code : codes) {
                  out.push_back(scale.scale * static_cast<float>(integer_of<Format>(code) - scale.zero));
                }
              },
              [&] { FAIL() << name(dtype); });
        });
  }
  return out;
}

struct Opened {
  DType dtype{};
  std::string method{};
  std::vector<Index> shape{};
  std::vector<float> values{};
  bool ordered = false;  // in memory columns have an order of their own; `values` are in that of the inputs
};

// Opens a checkpoint and decodes one weight, in two pieces of rows.
inline Opened open_weight(const Checkpoint& checkpoint, const std::string& name) {
  const TestDirectory directory;
  checkpoint.save(directory.path());
  const auto file = open_model(directory.path());
  if (!file->unsupported().empty()) throw Error(ErrorKind::kUnsupported, file->unsupported());
  const TensorInfo* weight = file->find(name);
  if (weight == nullptr || weight->repacking == nullptr) {
    ADD_FAILURE() << name << " is not presented";
    return {};
  }
  const Repacking& repacking = *weight->repacking;
  std::vector<std::byte> staging(repacking.staging_bytes().size());
  for (std::size_t i = 0; i < repacking.parts().size(); ++i) {
    const TensorInfo& part = repacking.parts()[i];
    InputFile(file->files()[static_cast<std::size_t>(part.file)])
        .read_at(part.offset, std::span(staging).subspan(repacking.part_offset(i).size(), part.size.size()));
  }
  const auto decoder = repacking.decoder(repacking.parts_in(staging));
  const Index rows = weight->shape[0], split = rows / 3;
  const Bytes row = storage_bytes(weight->dtype, weight->shape[1]);
  std::vector<std::byte> decoded((row * rows).size());
  decoder->decode(0, split, decoded.data());
  decoder->decode(split, rows - split, decoded.data() + (row * split).count);
  std::vector<float> values = values_of_rows(weight->dtype, weight->elements(), decoded);
  const auto order = decoder->input_order();
  EXPECT_EQ(order.size(), repacking.ordered() ? static_cast<std::size_t>(weight->shape[1]) : 0u);
  if (repacking.ordered()) {
    const std::vector<float> sorted = values;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t column = i % order.size();
      values[i - column + static_cast<std::size_t>(order[column])] = sorted[i];
    }
  }
  return {weight->dtype, repacking.method(), weight->shape, std::move(values), repacking.ordered()};
}

inline std::string refusal(const Checkpoint& checkpoint, const std::string& name = "m.weight") {
  return error_of([&] { return open_weight(checkpoint, name).values.size(); });
}

inline std::string config(const std::string& quantization) {
  return R"({"quantization_config": {)" + quantization + "}}";
}

}  // namespace jericho::quantized
