// A frozen weight in NF4 with doubly quantized scales (QLoRA, Dettmers et al. 2023, arXiv:2305.14314, section 3 and
// appendix E): 4 bits a value; of every 64 values a scale, their largest magnitude, of which 8 bits are kept, in blocks
// of 256 scales about the mean of all, in the signed dynamic map: 4.127 bits in all. A value takes the code below the
// midpoint that it does not exceed, as bitsandbytes has it. Rows are whole blocks of 64. Start at Nf4Weight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/index.h"
#include "kernels/file_rows.h"
#include "ops/context.h"
#include "ops/stored_rows.h"

namespace jericho {

inline constexpr Index kNf4Block = 64;

class Nf4Weight final : public ColumnDecoder {
 public:
  static bool fits(Index cols) { return cols % kNf4Block == 0; }
  static Bytes bytes(Index rows, Index cols);
  // Scales of all rows, while they are not yet quantized themselves.
  static Index scales(Index rows, Index cols) { return rows * (cols / kNf4Block); }

  // A view of `memory`, which has bytes().
  Nf4Weight(std::span<std::byte> memory, Index rows, Index cols, CpuPath path);

  // Row by row, in any order and on any thread: `values` become codes, their scales go to scales[cols / 64].
  void quantize_row(Index row, const float* values, float* scales);
  // Then the scales of all rows.
  void quantize_scales(std::span<const float> scales);

  [[nodiscard]] StoredRows rows() const;
  void decode(Index row, Index first, Index count, float* out) const override;

  // For tests: code of a value, and what is kept of a scale.
  [[nodiscard]] int code(Index row, Index column) const;
  [[nodiscard]] std::uint8_t scale_code(Index block) const { return scale_codes_[static_cast<std::size_t>(block)]; }
  [[nodiscard]] float scale(Index block) const;
  [[nodiscard]] float mean() const { return *mean_; }

 private:
  const FileRowKernels& kernels_;
  Index rows_, cols_;
  std::span<std::byte> codes_;           // 32 bytes a block, as NF4 of tensor/row_formats.h has them
  std::span<std::uint8_t> scale_codes_;  // one a block
  std::span<float> largest_;             // one per 256 scales
  float* mean_;
};

// The index of NF4's sixteen numbers that stands for x in [-1, 1].
int nf4_code(float x);

}  // namespace jericho
