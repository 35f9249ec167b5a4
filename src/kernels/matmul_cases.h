// For tests and benchmarks only: packed weight matrices with random contents, and activations in every form.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/packed_matrix.h"
#include "tensor/block_formats.h"

namespace jericho {

enum class Scales { kPlain, kAnyBits };  // any bits: infinities, NaN and subnormals among them

// One row as in a file. Any bits are valid codes; half-precision scales get a moderate size unless asked otherwise.
inline void fill_file_row(DType dtype, Index cols, std::mt19937& random, Scales scales, std::byte* row) {
  std::normal_distribution<float> normal(0.0f, 1.0f);
  const Index bytes = storage_bytes(dtype, cols).count;
  for (Index i = 0; i < bytes; ++i) row[i] = static_cast<std::byte>(random() & 255u);
  const auto put_half = [&](Index offset, float value) {
    const F16 half = to_f16(value);
    if (scales == Scales::kPlain || random() % 4 != 0) std::memcpy(row + offset, &half.bits, 2);
  };
  visit_block_format(
      dtype,
      [&]<class Format>() {
        const Index block = info(dtype).block_bytes.count;
        for (Index b = 0; b < bytes; b += block) {
          for (const ScaleField& field : Format::kScaleFields) {
            if (field.type == FieldType::kHalf) put_half(b + field.offset, 0.05f * normal(random));
            if (field.type == FieldType::kBrainHalf || field.type == FieldType::kFloat) {
              const float scale = 0.05f * normal(random);
              if (scales == Scales::kPlain || random() % 4 != 0) {
                put_scale(field, scale, reinterpret_cast<std::uint8_t*>(row) + b);
              }
            }
            if (field.type == FieldType::kExponent && scales == Scales::kPlain) {
              row[b + field.offset] = static_cast<std::byte>(120 + random() % 8);
            }
            if (Format::kSpan == DotSpan::kSegment) {  // the row has one scale
              std::copy_n(row + field.offset, field.width(), row + b + field.offset);
            }
          }
        }
      },
      [&] {
        if (is_row_format(dtype)) {
          for (Index b = 0; b < bytes; b += info(dtype).block_bytes.count) {
            const float scale = 0.05f * normal(random);
            if (scales == Scales::kPlain || random() % 4 != 0) std::memcpy(row + b, &scale, 4);
            for (Index i = 4; i < info(dtype).block_bytes.count && scales == Scales::kPlain;
                 ++i) {  // no NaN among codes
              if ((row[b + i] & std::byte{0x7f}) == std::byte{0x7f}) row[b + i] = std::byte{0};
            }
          }
          return;
        }
        for (Index c = 0; c < cols; ++c) {
          const float value = normal(random);
          if (dtype == DType::kF16) put_half(2 * c, value);
          if (dtype == DType::kF32) {
            if (scales == Scales::kPlain || random() % 4 != 0) std::memcpy(row + 4 * c, &value, 4);
          }
          if (dtype == DType::kBF16) {
            const BF16 half = to_bf16(value);
            if (scales == Scales::kPlain || random() % 4 != 0) std::memcpy(row + 2 * c, &half.bits, 2);
          }
        }
      });
}

struct CaseMatrix {
  CaseMatrix(DType dtype, Index rows, Index cols, unsigned seed, Scales scales = Scales::kPlain)
      : bytes(packed_bytes(dtype, rows, cols).size() + 64), row_bytes(storage_bytes(dtype, cols)) {
    std::mt19937 random(seed);
    file.resize((row_bytes * rows).size());
    for (Index r = 0; r < rows; ++r) fill_file_row(dtype, cols, random, scales, file.data() + r * row_bytes.count);
    std::byte* data = bytes.data();
    while (reinterpret_cast<std::uintptr_t>(data) % 64 != 0) ++data;
    for (Index s = 0; s < ceil_div(rows, kStripRows); ++s) {
      pack_strip(dtype, cols, file.data() + s * kStripRows * row_bytes.count, row_bytes,
                 std::min(kStripRows, rows - s * kStripRows), data + (strip_bytes(dtype, cols) * s).count);
    }
    view = {dtype, rows, cols, default_unit(dtype), data};
  }
  std::vector<std::byte> bytes;
  std::vector<std::byte> file;
  Bytes row_bytes;
  PackedMatrix view;
};

// x[T, count], padded and converted for `weight` by the reference.
struct CaseActivations {
  CaseActivations(DType weight, const std::vector<float>& x, Index tokens, Index count) {
    const Index cols = round_up(count, 32);
    view = {.form = activation_form(weight), .tokens = tokens, .cols = cols};
    const auto elements = static_cast<std::size_t>(tokens * cols);
    f32.resize(elements);
    bf16.resize(elements);
    q8.resize(elements);
    scale.resize(elements / 32);
    scaled_sum.resize(elements / 32);
    half_sum.resize(elements / 16);
    for (Index t = 0; t < tokens; ++t) {
      const float* row = x.data() + t * count;
      std::copy(row, row + count, f32.begin() + t * cols);
      ref::round_bf16(row, count, cols, bf16.data() + t * cols);
      const Index group = t * cols / 32;
      ref::quantize_q8(
          row, count, cols, scale_columns(view.form, cols),
          {q8.data() + t * cols, scale.data() + group, scaled_sum.data() + group, half_sum.data() + 2 * group});
    }
    view.f32 = f32.data();
    view.bf16 = bf16.data();
    view.q8 = q8.data();
    view.scale = scale.data();
    view.scaled_sum = scaled_sum.data();
    view.half_sum = half_sum.data();
  }
  std::vector<float> f32;
  std::vector<BF16> bf16;
  std::vector<std::int8_t> q8;
  std::vector<float> scale;
  std::vector<float> scaled_sum;
  std::vector<std::int32_t> half_sum;
  Activations view;
};

// Every type that weights may have, from the table of dtype.h.
inline constexpr auto kPackableTypes = [] {
  constexpr auto kCount =
      std::count_if(kDTypes.begin(), kDTypes.end(), [](auto& row) { return is_packable(row.dtype); });
  std::array<DType, static_cast<std::size_t>(kCount)> types{};
  std::size_t next = 0;
  for (const DTypeInfo& row : kDTypes) {
    if (is_packable(row.dtype)) types[next++] = row.dtype;
  }
  return types;
}();

}  // namespace jericho
