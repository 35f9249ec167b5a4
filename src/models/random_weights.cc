// Weights without a file, for benchmarks: any bits are valid codes, scales are set so that activations stay finite.
#include <array>
#include <cstring>
#include <functional>
#include <vector>

#include "base/half.h"
#include "base/philox.h"
#include "kernels/file_rows.h"
#include "models/weights.h"
#include "tensor/block_formats.h"

namespace jericho {
namespace {

constexpr std::uint32_t kPurpose = 0x77656967;  // "weig": its own stream of the counter

// One file row of `dtype`: uniform codes; every floating-point scale 2^-9; plain types uniform in [-1/32, 1/32).
void random_row(DType dtype, Index cols, PhiloxKey key, std::uint32_t tensor, Index row, std::vector<std::byte>& out) {
  out.resize(storage_bytes(dtype, cols).size());
  for (std::size_t i = 0; i < out.size(); i += 16) {
    const PhiloxCounter bits =
        philox4x32({static_cast<std::uint32_t>(i / 16), static_cast<std::uint32_t>(row), tensor, kPurpose}, key);
    std::memcpy(out.data() + i, bits.data(), std::min<std::size_t>(16, out.size() - i));
  }
  const auto small = [](std::byte high, std::byte low) {
    return static_cast<float>(static_cast<int>(high) * 256 + static_cast<int>(low) - 32768) * 0x1p-20f;
  };
  visit_block_format(
      dtype,
      [&]<class Format>() {
        for (std::size_t block = 0; block < out.size(); block += info(dtype).block_bytes.size()) {
          for (const ScaleField& field : Format::kScaleFields) {
            if (field.type != FieldType::kBits) {
              put_scale(field, 0x1p-9f, reinterpret_cast<std::uint8_t*>(out.data()) + block);
            }
          }
        }
      },
      [&] {
        const std::size_t width = info(dtype).block_bytes.size();
        if (is_row_format(dtype)) {
          constexpr float kScale = 0x1p-9f;
          for (std::size_t i = 0; i < out.size(); i += width) {
            for (std::size_t code = i; code < i + width; ++code) out[code] &= std::byte{0xbf};  // no NaN among FP8
            std::memcpy(out.data() + i, &kScale, 4);
          }
          return;
        }
        for (std::size_t i = 0; i < out.size(); i += width) {
          const float value = small(out[i], out[i + 1]);
          if (dtype == DType::kF32) std::memcpy(out.data() + i, &value, 4);
          if (const F16 half = to_f16(value); dtype == DType::kF16) std::memcpy(out.data() + i, &half.bits, 2);
          if (const BF16 half = to_bf16(value); dtype == DType::kBF16) std::memcpy(out.data() + i, &half.bits, 2);
        }
      });
}

}  // namespace

ModelWeights ModelWeights::random(const Context& context, const ModelConfig& config, const WeightLayout& layout,
                                  Arena arena, std::uint64_t seed) {
  ModelWeights weights(config, layout, std::move(arena));
  const PhiloxKey key = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  for (std::size_t i = 0; i < layout.placements().size(); ++i) {
    const WeightPlacement& p = layout.placements()[i];
    std::byte* to = weights.arena_.bytes().data() + p.offset.count;
    if (!p.spec.is_matrix()) {
      std::fill_n(reinterpret_cast<float*>(to), p.spec.rows * p.spec.cols, p.spec.neutral);
      continue;
    }
    const auto strip = [&](Index s, int) {
      const Index rows = std::min(kStripRows, p.spec.rows - s * kStripRows);
      std::vector<std::byte> file_rows;
      std::vector<std::byte> row;
      for (Index r = 0; r < rows; ++r) {
        random_row(p.dtype, p.spec.cols, key, static_cast<std::uint32_t>(i), s * kStripRows + r, row);
        file_rows.insert(file_rows.end(), row.begin(), row.end());
      }
      file_row_kernels_for(context.kernels.path)
          .pack_strip(p.dtype, p.spec.cols, file_rows.data(), storage_bytes(p.dtype, p.spec.cols), rows,
                      to + s * strip_bytes(p.dtype, p.spec.cols).count);
    };
    context.pool.run(ceil_div(p.spec.rows, kStripRows), std::ref(strip));
  }
  return weights;
}

}  // namespace jericho
