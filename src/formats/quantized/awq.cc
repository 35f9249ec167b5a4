// AWQ (Lin et al. 2023, arXiv:2306.00978) as AutoAWQ's "gemm" version stores it. Per module P, of C inputs and O
// outputs:
//   P.qweight  I32 [C, O / 8]  4-bit codes of consecutive outputs; nibble n of a word is output kOrder[n] of its eight
//   P.qzeros   I32 [G, O / 8]  zero points in the same order; absent without "zero_point"
//   P.scales   F16 or BF16 [G, O]
// W[o, i] = scales[g, o] * (code[i, o] - zero[g, o]), g = i / group_size.
#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>

#include "base/error.h"
#include "formats/quantized/integer_rows.h"
#include "formats/quantized/methods.h"

namespace jericho {
namespace {

constexpr std::array<int, 8> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr std::array<int, 8> kNibbleOf = [] {
  std::array<int, 8> inverse{};
  for (int n = 0; n < 8; ++n) inverse[static_cast<std::size_t>(kOrder[static_cast<std::size_t>(n)])] = n;
  return inverse;
}();

struct AwqShape {
  IntegerGrid grid{};
  Index outputs = 0;
};

enum Part : std::size_t { kQweight, kScales, kQzeros };

class AwqRows final : public IntegerRows {
 public:
  AwqRows(const AwqShape& shape, const PartBytes& parts)
      : IntegerRows(shape.grid), shape_(shape), qweight_(parts[kQweight]), scales_(shape.grid.scale, parts[kScales]) {
    if (!shape.grid.symmetric) qzeros_ = Elements<std::uint32_t>(parts[kQzeros]);
  }

 private:
  std::uint8_t nibble(const Elements<std::uint32_t>& words, Index line, Index output) const {
    const std::uint32_t word = words[line * (shape_.outputs / 8) + output / 8];
    return static_cast<std::uint8_t>((word >> (4 * kNibbleOf[static_cast<std::size_t>(output % 8)])) & 15u);
  }
  void codes(Index row, Index block, std::span<std::uint8_t, 32> out) const override {
    for (std::size_t j = 0; j < 32; ++j) out[j] = nibble(qweight_, block * kGroup + static_cast<Index>(j), row);
  }
  float scale(Index row, Index group) const override { return scales_[group * shape_.outputs + row]; }
  int zero(Index row, Index group) const override { return shape_.grid.symmetric ? 8 : nibble(qzeros_, group, row); }

  AwqShape shape_;
  Elements<std::uint32_t> qweight_;
  Elements<std::uint32_t> qzeros_;
  ScaleElements scales_;
};

class AwqRepacking final : public Repacking {
 public:
  AwqRepacking(const AwqShape& shape, std::vector<TensorInfo> parts)
      : Repacking(fmt::format("AWQ 4 bit, groups of {}", shape.grid.group), std::move(parts)), shape_(shape) {}
  std::unique_ptr<RowDecoder> decoder(PartBytes parts) const override {
    return std::make_unique<AwqRows>(shape_, parts);
  }

 private:
  AwqShape shape_;
};

}  // namespace

void present_awq(const QuantizationSettings& settings, StoredTensors& tensors) {
  std::string version = settings.text("version").value_or("gemm");
  std::transform(version.begin(), version.end(), version.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (version != "gemm") settings.unsupported("version", "supported: gemm");
  const char* bits = settings.has("w_bit") ? "w_bit" : "bits";  // as llm-awq calls them
  if (settings.integer(bits).value_or(4) != 4) settings.unsupported(bits, "supported: 4");
  const Index group_size = settings.integer(settings.has("q_group_size") ? "q_group_size" : "group_size").value_or(128);
  for (const std::string& module : tensors.modules_with(".qweight")) {
    const TensorInfo& qweight = tensors.require(module + ".qweight", {DType::kI32});
    const TensorInfo& scales = tensors.require(module + ".scales", {DType::kF16, DType::kBF16});
    expect_matrix(qweight);
    AwqShape shape{.outputs = qweight.shape[1] * 8};
    shape.grid.cols = qweight.shape[0];
    shape.grid.group = checked_group(group_size, shape.grid.cols);
    const Index groups = ceil_div(shape.grid.cols, shape.grid.group);
    expect_shape(scales, {groups, shape.outputs});
    std::vector<TensorInfo> parts = {qweight, scales};
    const bool has_zeros = settings.boolean("zero_point").value_or(true) || tensors.find(module + ".qzeros") != nullptr;
    if (has_zeros) {
      parts.push_back(tensors.require(module + ".qzeros", {DType::kI32}));
      expect_shape(parts.back(), {groups, shape.outputs / 8});
    }
    shape.grid.symmetric = !has_zeros;
    shape.grid.scale = scales.dtype;
    tensors.present(module + ".weight", integer_block_type(shape.grid), {shape.outputs, shape.grid.cols},
                    std::make_shared<AwqRepacking>(shape, std::move(parts)));
  }
}

}  // namespace jericho
