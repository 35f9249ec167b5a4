// Codes are copied; every 64 of them get their scale.
#include "formats/quantized/float8_rows.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "formats/printable.h"
#include "formats/quantized/integer_rows.h"
#include "tensor/row_formats.h"

namespace jericho {
namespace {

struct Float8Shape {
  Index cols = 0;
  Index block_rows = 0;
  Index block_cols = 0;
  DType scale{};
};

class Float8Rows final : public RowDecoder {
 public:
  Float8Rows(const Float8Shape& shape, const PartBytes& parts)
      : shape_(shape), codes_(parts[0].data()), scales_(shape.scale, parts[1]) {}
  void decode(Index first, Index count, std::byte* rows) const override {
    const Index scales_per_row = ceil_div(shape_.cols, shape_.block_cols);
    for (Index row = first; row < first + count; ++row) {
      for (Index c = 0; c < shape_.cols; c += kRowBlock, rows += FP8::kBlockBytes) {
        const float scale = scales_[row / shape_.block_rows * scales_per_row + c / shape_.block_cols];
        std::memcpy(rows, &scale, 4);
        std::memcpy(rows + 4, codes_ + row * shape_.cols + c, kRowBlock);
      }
    }
  }

 private:
  Float8Shape shape_;
  const std::byte* codes_;
  ScaleElements scales_;
};

class Float8Repacking final : public Repacking {
 public:
  Float8Repacking(std::string method, const Float8Shape& shape, std::vector<TensorInfo> parts)
      : Repacking(std::move(method), std::move(parts)), shape_(shape) {}
  std::unique_ptr<RowDecoder> decoder(PartBytes parts) const override {
    return std::make_unique<Float8Rows>(shape_, parts);
  }

 private:
  Float8Shape shape_;
};

}  // namespace

void present_float8(const std::string& method, const std::string& module, const std::string& scale,
                    const std::vector<Index>& block, StoredTensors& tensors) {
  const TensorInfo& codes = tensors.require(module + ".weight", {DType::kF8_E4M3});
  const TensorInfo& scales = tensors.require(scale, {DType::kF32, DType::kBF16, DType::kF16});
  expect_matrix(codes);
  const Index rows = codes.shape[0];
  const Index cols = codes.shape[1];
  Float8Shape shape{.cols = cols, .block_rows = rows, .block_cols = cols, .scale = scales.dtype};
  std::string where = "per tensor";
  const std::vector<Index> per_row = {rows};
  if (!block.empty()) {
    if (block.size() != 2 || block[0] < 1 || block[1] < 1) {
      throw Error(ErrorKind::kInput,
                  fmt::format("blocks of scales are [{}], expected rows and columns", fmt::join(block, ", ")));
    }
    shape.block_rows = std::min(block[0], rows);
    shape.block_cols = std::min(block[1], cols);
    expect_shape(scales, {ceil_div(rows, shape.block_rows), ceil_div(cols, shape.block_cols)});
    where = fmt::format("blocks of {} x {}", block[0], block[1]);
  } else if (scales.shape != std::vector<Index>{} && scales.shape != std::vector<Index>{1}) {
    if (scales.shape != per_row) expect_shape(scales, {rows, 1});
    shape.block_rows = 1;
    where = "per channel";
  }
  if (cols % kRowBlock != 0 || (shape.block_cols != cols && shape.block_cols % kRowBlock != 0)) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("tensor {}: FP8 rows of {} with scales every {} columns are not supported yet, expected "
                            "multiples of {}; use the float checkpoint or a GGUF",
                            printable(codes.name), cols, shape.block_cols, kRowBlock));
  }
  const std::vector<Index> weight = codes.shape;
  std::vector<TensorInfo> parts = {codes, scales};
  tensors.present(module + ".weight", DType::kFP8, weight,
                  std::make_shared<Float8Repacking>(fmt::format("{}, {}", method, where), shape, std::move(parts)));
}

}  // namespace jericho
