// GPTQ (Frantar et al. 2022, arXiv:2210.17323) as AutoGPTQ and GPTQModel store it. Per module P, of C inputs, O
// outputs, b bits and G groups of inputs:
//   P.qweight  I32 [C b / 32, O]  of each output the codes of consecutive inputs, low bits first, as one stream of bits
//   P.qzeros   I32 [G, O b / 32]  zero points of consecutive outputs in the same way, less 1 in "gptq" only
//   P.scales   F16 or BF16 [G, O]
//   P.g_idx    I32 [C]            the group of each input; any, but of equal sizes, where "desc_act" is true
// W[o, i] = scales[g_idx[i], o] * (code[i, o] - zero[g_idx[i], o]).
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "formats/printable.h"
#include "formats/quantized/integer_rows.h"
#include "formats/quantized/methods.h"

namespace jericho {
namespace {

struct GptqShape {
  IntegerGrid grid{};
  Index outputs = 0;
  Index groups = 0;
  bool stores_zero = false;  // "gptq_v2": not zero - 1
  bool ordered = false;      // "desc_act": inputs have groups by the order of their activations
  std::string module{};
};

enum Part : std::size_t { kQweight, kQzeros, kScales, kGroupIndex };

class GptqRows final : public IntegerRows {
 public:
  GptqRows(const GptqShape& shape, const PartBytes& parts, std::vector<std::int32_t> input_order)
      : IntegerRows(shape.grid, std::move(input_order)),
        shape_(shape),
        qweight_(parts[kQweight]),
        qzeros_(parts[kQzeros]),
        scales_(shape.grid.scale, parts[kScales]) {
    if (shape_.grid.symmetric) find_symmetric_zero();
  }

 private:
  void codes(Index row, Index block, std::span<std::uint8_t, 32> out) const override {
    const int bits = shape_.grid.bits;
    codes_of_words(
        bits, [&](Index i) { return qweight_[(block * bits + i) * shape_.outputs + row]; }, out);
  }
  void codes_at(Index row, std::span<const std::int32_t, 32> inputs, std::span<std::uint8_t, 32> out) const override {
    const int bits = shape_.grid.bits;
    for (std::size_t j = 0; j < 32; ++j) {
      const Index bit = Index{inputs[j]} * bits;
      const Index at = bit / 32 * shape_.outputs + row;
      std::uint64_t pair = static_cast<std::uint32_t>(qweight_[at]);
      if (bit % 32 + bits > 32) pair |= std::uint64_t{static_cast<std::uint32_t>(qweight_[at + shape_.outputs])} << 32;
      out[j] = static_cast<std::uint8_t>(static_cast<int>(pair >> (bit % 32)) & largest());
    }
  }
  float scale(Index row, Index group) const override { return scales_[group * shape_.outputs + row]; }
  int zero(Index row, Index group) const override {
    if (shape_.grid.symmetric) return 1 << (shape_.grid.bits - 1);
    const int stored = stored_zero(row, group);
    return shape_.stores_zero ? stored : (stored + 1) & largest();
  }

  int largest() const { return (1 << shape_.grid.bits) - 1; }
  int stored_zero(Index row, Index group) const {
    const int bits = shape_.grid.bits;
    const Index words = shape_.outputs / 32 * bits;
    const Index bit = row * bits;
    const Index at = group * words + bit / 32;
    std::uint64_t pair = static_cast<std::uint32_t>(qzeros_[at]);
    if (bit % 32 + bits > 32) pair |= std::uint64_t{static_cast<std::uint32_t>(qzeros_[at + 1])} << 32;
    return static_cast<int>(pair >> (bit % 32)) & largest();
  }

  // Some files say "gptq" and hold the zeros of "gptq_v2": symmetric ones tell which they are.
  void find_symmetric_zero() const {
    const int middle = 1 << (shape_.grid.bits - 1);
    const int found = stored_zero(0, 0);
    for (Index g = 0; g < shape_.groups; ++g) {
      for (Index o = 0; o < shape_.outputs; ++o) {
        const int stored = stored_zero(o, g);
        if (stored == found && (found == middle || found == middle - 1)) continue;
        throw Error(ErrorKind::kInput,
                    fmt::format("tensor {}: holds {} for output {} of group {}, where \"sym\": true means {} (gptq) or "
                                "{} (gptq_v2) everywhere; set \"sym\" to false in config.json",
                                printable(shape_.module + ".qzeros"), stored, o, g, middle - 1, middle));
      }
    }
  }

  GptqShape shape_;
  Elements<std::int32_t> qweight_;
  Elements<std::int32_t> qzeros_;
  ScaleElements scales_;
};

class GptqRepacking final : public Repacking {
 public:
  GptqRepacking(GptqShape shape, std::vector<TensorInfo> parts)
      : Repacking(fmt::format("GPTQ {} bit, {}{}", shape.grid.bits,
                              shape.groups == 1 ? "per channel" : fmt::format("groups of {}", shape.grid.group),
                              shape.ordered ? " by activation" : ""),
                  std::move(parts)),
        shape_(std::move(shape)) {}
  bool ordered() const override { return shape_.ordered; }
  std::unique_ptr<RowDecoder> decoder(PartBytes bytes) const override {
    std::vector<std::int32_t> order;
    if (parts().size() > kGroupIndex) {
      const TensorInfo& tensor = parts()[kGroupIndex];
      const Elements<std::int32_t> index(bytes[kGroupIndex]);
      if (shape_.ordered) {
        order = inputs_by_group(tensor, index, shape_.grid.cols, shape_.grid.group);
      } else {
        check_group_index(tensor, index, shape_.grid.cols, shape_.grid.group);
      }
    }
    return std::make_unique<GptqRows>(shape_, bytes, std::move(order));
  }

 private:
  GptqShape shape_;
};

int checked_bits(Index bits, const QuantizationSettings& settings) {
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) settings.unsupported("bits", "supported: 2, 3, 4, 8");
  return static_cast<int>(bits);
}

// Does the configuration, or a rule for some modules, order inputs by their activations?
bool has_activation_order(const QuantizationSettings& settings) {
  if (settings.boolean("desc_act").value_or(false)) return true;
  if (!settings.has("dynamic")) return false;
  const std::vector<QuantizationSettings> rules = settings.objects_in("dynamic");
  return std::any_of(rules.begin(), rules.end(),
                     [](const QuantizationSettings& rule) { return rule.boolean("desc_act").value_or(false); });
}

// Of one module: what the configuration says, or with rules per module what its shapes say.
GptqShape shape_of(const QuantizationSettings& settings, const std::string& module, const StoredTensors& tensors) {
  const TensorInfo& qweight = tensors.require(module + ".qweight", {DType::kI32});
  const TensorInfo& scales = tensors.require(module + ".scales", {DType::kF16, DType::kBF16});
  expect_matrix(qweight);
  expect_matrix(scales);
  const TensorInfo* index = tensors.find(module + ".g_idx");
  const bool rules = settings.has("dynamic");  // overrides by regular expression: shapes say the same
  GptqShape shape{.module = module};
  shape.outputs = qweight.shape[1];
  shape.groups = scales.shape[0];
  Index bits = settings.integer("bits").value_or(0);
  if (rules && index != nullptr && index->shape.size() == 1 && index->shape[0] > 0) {
    bits = qweight.shape[0] * 32 / index->shape[0];
  }
  shape.grid = {.bits = checked_bits(bits, settings),
                .symmetric = !rules && settings.boolean("sym").value_or(true),
                .scale = scales.dtype};
  if (qweight.shape[0] % shape.grid.bits != 0 || qweight.shape[0] == 0 || shape.outputs == 0 ||
      shape.outputs % 32 != 0) {
    throw Error(
        ErrorKind::kInput,
        fmt::format("tensor {} has shape [{}, {}], expected a multiple of {} words (32 codes of {} bits) and a "
                    "multiple of 32 outputs",
                    printable(qweight.name), qweight.shape[0], qweight.shape[1], shape.grid.bits, shape.grid.bits));
  }
  shape.grid.cols = qweight.shape[0] / shape.grid.bits * 32;
  const bool even = shape.groups > 0 && shape.grid.cols % shape.groups == 0;
  const Index group_size = rules && even ? shape.grid.cols / shape.groups : settings.integer("group_size").value_or(-1);
  shape.grid.group = checked_group(group_size, shape.grid.cols);
  expect_shape(scales, {ceil_div(shape.grid.cols, shape.grid.group), shape.outputs});
  return shape;
}

}  // namespace

void present_gptq(const QuantizationSettings& settings, StoredTensors& tensors) {
  const std::string format = settings.text("checkpoint_format").value_or("gptq");
  if (format != "gptq" && format != "gptq_v2") {
    settings.unsupported("checkpoint_format", "supported: gptq, gptq_v2");
  }
  if (settings.text("pack_dtype").value_or("int32") != "int32") settings.unsupported("pack_dtype", "supported: int32");
  const bool by_activation = has_activation_order(settings);
  for (const std::string& module : tensors.modules_with(".qweight")) {
    GptqShape shape = shape_of(settings, module, tensors);
    shape.stores_zero = format == "gptq_v2";
    const TensorInfo& qzeros = tensors.require(module + ".qzeros", {DType::kI32});
    expect_shape(qzeros, {shape.groups, shape.outputs / 32 * shape.grid.bits});
    std::vector<TensorInfo> parts = {*tensors.find(module + ".qweight"), qzeros, *tensors.find(module + ".scales")};
    if (tensors.find(module + ".g_idx") != nullptr) {
      const TensorInfo& index = tensors.require(module + ".g_idx", {DType::kI32});
      expect_shape(index, {shape.grid.cols});
      parts.push_back(index);
      shape.ordered = by_activation && shape.groups > 1;
    }
    const DType dtype = integer_block_type(shape.grid);
    const std::vector<Index> weight = {shape.outputs, shape.grid.cols};
    tensors.present(module + ".weight", dtype, weight,
                    std::make_shared<GptqRepacking>(std::move(shape), std::move(parts)));
  }
}

}  // namespace jericho
