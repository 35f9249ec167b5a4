// compressed-tensors (github.com/vllm-project/compressed-tensors), what llm-compressor writes. Per module P, of O
// outputs, C inputs and G groups of these, b-bit codes stored as value + 2^(b - 1):
//   pack-quantized   P.weight_packed  I32 [O, ceil(C / f)], f = floor(32 / b) codes to a word, low bits first
//                    P.weight_shape   I64 [2], O and C
//                    P.weight_zero_point  I32 [ceil(O / f), G], packed along the outputs; absent where symmetric
//                    P.weight_g_idx   I32 [C], the group of each input, where "actorder" is "group"
//   int-quantized    P.weight I8 [O, C];  P.weight_zero_point I8 [O, G] where asymmetric
//   float-quantized  P.weight F8_E4M3 [O, C]
// each with P.weight_scale [O, G], [O] or [1], for FP8 also one per block. What a module's tensors are says how it is
// stored; config_groups only tell code widths and blocks apart, so that their patterns of names are not needed.
// Activations are quantized as numerics.md 3 does for the weight's type, whatever "input_activations" says; where it
// asks for integers, int-quantized weights with one scale per row take one per token as well (QC8).
#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "formats/printable.h"
#include "formats/quantized/float8_rows.h"
#include "formats/quantized/integer_rows.h"
#include "formats/quantized/methods.h"

namespace jericho {
namespace {

struct Integers {
  IntegerGrid grid{};
  Index rows = 0;
  Index scales_per_row = 0;  // 0: one for the tensor
  bool packed = true;        // codes in words, not bytes
  std::size_t zeros = 0;     // which part they are, 0: none
  std::size_t index = 0;
};

constexpr std::size_t kCodes = 0;
constexpr std::size_t kScales = 1;

class IntegerTensorRows final : public IntegerRows {
 public:
  IntegerTensorRows(const Integers& shape, const PartBytes& parts, std::vector<std::int32_t> input_order)
      : IntegerRows(shape.grid, std::move(input_order)),
        shape_(shape),
        words_(parts[kCodes]),
        bytes_(parts[kCodes]),
        scales_(shape.grid.scale, parts[kScales]) {
    if (shape.zeros == 0) return;
    zero_words_ = Elements<std::uint32_t>(parts[shape.zeros]);
    zero_bytes_ = Elements<std::int8_t>(parts[shape.zeros]);
  }

 private:
  Index codes_per_word() const { return 32 / shape_.grid.bits; }
  unsigned mask() const { return (1u << shape_.grid.bits) - 1; }

  void codes(Index row, Index block, std::span<std::uint8_t, 32> out) const override {
    put_codes(
        row, [&](std::size_t j) { return block * kGroup + static_cast<Index>(j); }, out);
  }
  void codes_at(Index row, std::span<const std::int32_t, 32> inputs, std::span<std::uint8_t, 32> out) const override {
    put_codes(
        row, [&](std::size_t j) { return Index{inputs[j]}; }, out);
  }
  template <class Column>  // column(j) of the 32 codes
  void put_codes(Index row, Column column, std::span<std::uint8_t, 32> out) const {
    if (!shape_.packed) {
      for (std::size_t j = 0; j < 32; ++j) {
        out[j] = static_cast<std::uint8_t>(bytes_[row * shape_.grid.cols + column(j)] + 128);
      }
      return;
    }
    const Index words = ceil_div(shape_.grid.cols, codes_per_word());
    for (std::size_t j = 0; j < 32; ++j) {
      const std::uint32_t word = words_[row * words + column(j) / codes_per_word()];
      out[j] = static_cast<std::uint8_t>((word >> (column(j) % codes_per_word() * shape_.grid.bits)) & mask());
    }
  }
  float scale(Index row, Index group) const override {
    return scales_[shape_.scales_per_row == 0 ? 0 : row * shape_.scales_per_row + group];
  }
  int zero(Index row, Index group) const override {
    const Index groups = std::max<Index>(1, shape_.scales_per_row);
    if (shape_.zeros == 0) return 1 << (shape_.grid.bits - 1);
    if (!shape_.packed) return zero_bytes_[shape_.scales_per_row == 0 ? 0 : row * groups + group] + 128;
    const std::uint32_t word = zero_words_[row / codes_per_word() * groups + group];
    return static_cast<int>((word >> (row % codes_per_word() * shape_.grid.bits)) & mask());
  }

  Integers shape_;
  Elements<std::uint32_t> words_;
  Elements<std::int8_t> bytes_;
  ScaleElements scales_;
  Elements<std::uint32_t> zero_words_;
  Elements<std::int8_t> zero_bytes_;
};

class IntegerRepacking final : public Repacking {
 public:
  IntegerRepacking(const Integers& shape, std::vector<TensorInfo> parts)
      : Repacking(fmt::format("compressed-tensors {} bit, {}{}", shape.grid.bits,
                              shape.scales_per_row == 0             ? "per tensor"
                              : shape.grid.group == shape.grid.cols ? "per channel"
                                                                    : fmt::format("groups of {}", shape.grid.group),
                              shape.index != 0 ? " by activation" : ""),
                  std::move(parts)),
        shape_(shape) {}
  std::unique_ptr<RowDecoder> decoder(PartBytes bytes) const override {
    std::vector<std::int32_t> order;
    if (shape_.index != 0) {
      order = inputs_by_group(parts()[shape_.index], Elements<std::int32_t>(bytes[shape_.index]), shape_.grid.cols,
                              shape_.grid.group);
    }
    return std::make_unique<IntegerTensorRows>(shape_, bytes, std::move(order));
  }
  bool ordered() const override { return shape_.index != 0; }

 private:
  Integers shape_;
};

// What config_groups say that tensors do not.
struct Groups {
  std::vector<Index> bits{};   // widths of integer codes
  std::vector<Index> block{};  // rows and columns of strategy "block"
  bool integer_activations = false;
};

Groups read_groups(const QuantizationSettings& settings) {
  Groups groups;
  for (const QuantizationSettings& group : settings.objects_in("config_groups")) {
    if (const auto inputs = group.object("input_activations")) {
      groups.integer_activations |= inputs->text("type").value_or("int") == "int";
    }
    const auto weights = group.object("weights");
    if (!weights) continue;
    const Index bits = weights->integer("num_bits").value_or(8);
    const std::string type = weights->text("type").value_or("int");
    if (type == "int" ? bits < 2 || bits > 8 : bits != 8) {
      weights->unsupported("num_bits", "supported: integers of 2 to 8 bits, floats of 8");
    }
    if (type == "int") groups.bits.push_back(bits);
    if (weights->text("strategy").value_or("") == "block") groups.block = weights->integers("block_structure");
  }
  return groups;
}

// Columns per group and scales per row, from the shape of the scales.
void read_scales(const TensorInfo& scales, Integers& shape) {
  shape.grid.scale = scales.dtype;
  const bool single = scales.shape.empty() || (scales.elements() == 1 && shape.rows > 1);
  if (single || (scales.shape.size() == 1 && scales.shape[0] == 1)) {
    shape.grid.group = checked_group(-1, shape.grid.cols);
    return;
  }
  shape.scales_per_row = 1;
  if (scales.shape.size() == 1) {
    expect_shape(scales, {shape.rows});
  } else {
    expect_matrix(scales);
    shape.scales_per_row = scales.shape[1];
    expect_shape(scales, {shape.rows, shape.scales_per_row});
  }
  if (shape.grid.cols % shape.scales_per_row != 0) {
    throw Error(ErrorKind::kInput, fmt::format("tensor {} has {} scales for rows of {}, expected a divisor",
                                               printable(scales.name), shape.scales_per_row, shape.grid.cols));
  }
  shape.grid.group = checked_group(shape.grid.cols / shape.scales_per_row, shape.grid.cols);
}

void present_integers(const std::string& module, Integers shape, std::vector<TensorInfo> parts,
                      StoredTensors& tensors) {
  read_scales(tensors.require(module + ".weight_scale", {DType::kF16, DType::kBF16, DType::kF32}), shape);
  parts.push_back(*tensors.find(module + ".weight_scale"));
  const Index groups = std::max<Index>(1, shape.scales_per_row);
  const Index codes_per_word = 32 / shape.grid.bits;
  if (tensors.find(module + ".weight_zero_point") != nullptr) {
    const TensorInfo& zeros = tensors.require(module + ".weight_zero_point", {shape.packed ? DType::kI32 : DType::kI8});
    if (shape.packed) {
      expect_shape(zeros, {ceil_div(shape.rows, codes_per_word), groups});
    } else if (zeros.elements() != (shape.scales_per_row == 0 ? 1 : shape.rows * groups)) {
      expect_shape(zeros, {shape.rows, groups});
    }
    shape.zeros = parts.size();
    shape.grid.symmetric = false;
    parts.push_back(zeros);
  }
  if (tensors.find(module + ".weight_g_idx") != nullptr) {
    shape.index = parts.size();
    parts.push_back(tensors.require(module + ".weight_g_idx", {DType::kI32}));
    expect_shape(parts.back(), {shape.grid.cols});
  }
  tensors.present(module + ".weight", integer_block_type(shape.grid), {shape.rows, shape.grid.cols},
                  std::make_shared<IntegerRepacking>(shape, std::move(parts)));
}

void present_packed(const std::string& module, const Groups& groups, StoredTensors& tensors) {
  const TensorInfo& packed = tensors.require(module + ".weight_packed", {DType::kI32});
  const TensorInfo& stored_shape = tensors.require(module + ".weight_shape", {DType::kI64, DType::kI32});
  expect_matrix(packed);
  expect_shape(stored_shape, {2});
  const std::vector<std::byte> bytes = tensors.read(stored_shape);
  const auto extent = [&](Index i) -> Index {
    if (stored_shape.dtype == DType::kI32) return Elements<std::int32_t>(bytes)[i];
    return Elements<std::int64_t>(bytes)[i];
  };
  Integers shape{.rows = extent(0)};
  shape.grid.cols = extent(1);
  std::vector<Index> fitting;
  for (const Index bits : groups.bits) {
    const bool fits = shape.grid.cols >= 1 && shape.grid.cols <= Index{1} << 31 &&
                      ceil_div(shape.grid.cols, 32 / bits) == packed.shape[1];
    if (fits && std::find(fitting.begin(), fitting.end(), bits) == fitting.end()) fitting.push_back(bits);
  }
  if (shape.rows != packed.shape[0] || fitting.size() != 1) {
    throw Error(ErrorKind::kInput,
                fmt::format("tensor {} has shape [{}], which for a weight of [{}, {}] is {} of the code widths of "
                            "config_groups ({} bits)",
                            printable(packed.name), fmt::join(packed.shape, ", "), shape.rows, shape.grid.cols,
                            fitting.size() > 1 ? "several" : "none", fmt::join(groups.bits, ", ")));
  }
  shape.grid.bits = static_cast<int>(fitting[0]);
  tensors.drop(stored_shape);
  present_integers(module, shape, {packed}, tensors);
}

void present_bytes(const std::string& module, const Groups& groups, StoredTensors& tensors) {
  const TensorInfo& weight = tensors.require(module + ".weight", {DType::kI8, DType::kF8_E4M3});
  const std::string scale_name = module + ".weight_scale";
  if (weight.dtype == DType::kI8) {
    expect_matrix(weight);
    Integers shape{.rows = weight.shape[0], .packed = false};
    shape.grid.bits = 8;
    shape.grid.cols = weight.shape[1];
    shape.grid.whole_rows = groups.integer_activations;
    present_integers(module, shape, {weight}, tensors);
    return;
  }
  const TensorInfo& scales = tensors.require(scale_name, {DType::kF16, DType::kBF16, DType::kF32});
  std::vector<Index> block;
  if (scales.shape.size() == 2 && weight.shape.size() == 2 && scales.shape != std::vector<Index>{weight.shape[0], 1} &&
      scales.elements() > 1) {
    block = groups.block.empty() ? std::vector<Index>{128, 128} : groups.block;
  }
  present_float8("compressed-tensors FP8", module, scale_name, block, tensors);
}

}  // namespace

void present_compressed_tensors(const QuantizationSettings& settings, StoredTensors& tensors) {
  constexpr std::array kFormats = {"dense",           "pack-quantized",  "int-quantized",
                                   "float-quantized", "naive-quantized", "mixed-precision"};
  const std::string format = settings.text("format").value_or("dense");
  if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end()) {
    settings.unsupported("format", fmt::format("supported: {}", fmt::join(kFormats, ", ")));
  }
  if (const auto sparsity = settings.object("sparsity_config");
      sparsity && sparsity->text("format").value_or("dense") != "dense") {
    sparsity->unsupported("format", "supported: dense");
  }
  if (const auto transforms = settings.object("transform_config"); transforms && transforms->has("config_groups")) {
    transforms->unsupported("config_groups", "supported: checkpoints without transforms at run time");
  }
  const Groups groups = read_groups(settings);
  for (const std::string& module : tensors.modules_with(".weight_packed")) present_packed(module, groups, tensors);
  for (const std::string& module : tensors.modules_with(".weight_scale")) {
    if (tensors.find(module + ".weight") != nullptr) present_bytes(module, groups, tensors);
  }
}

}  // namespace jericho
