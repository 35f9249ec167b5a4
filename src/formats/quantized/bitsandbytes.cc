// bitsandbytes' 4-bit weights (QLoRA, Dettmers et al. 2023, arXiv:2305.14314). For a tensor X of n values:
//   X                  U8 [n / 2, 1]: value 2 k in the high nibble of byte k, 2 k + 1 in the low one
//   X.absmax           F32 [n / blocksize], or U8 where these are quantized in turn ("double quantization"); then also
//   X.nested_absmax    F32, one per nested_blocksize of them, and X.nested_quant_map F32 [256]:
//                      absmax[i] = nested_quant_map[code[i]] * nested_absmax[i / nested_blocksize] + nested_offset
//   X.quant_map        F32 [16], the table of NF4
//   X.quant_state.bitsandbytes__nf4   U8: JSON text {quant_type, blocksize, dtype, shape, nested_*}
// Blocks run over the flattened tensor; here they must not cross rows.
#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"
#include "formats/printable.h"
#include "formats/quantized/integer_rows.h"
#include "formats/quantized/methods.h"
#include "tensor/row_formats.h"

namespace jericho {
namespace {

constexpr std::string_view kState = ".quant_state.bitsandbytes__nf4";

struct NestedScales {
  Index block = 0;
  float offset = 0;
};

struct Nf4Shape {
  std::string name{};
  Index rows = 0;
  Index cols = 0;
  Index block = 0;
  std::optional<NestedScales> nested{};
};

enum Part : std::size_t { kCodes, kAbsmax, kMap, kNestedAbsmax, kNestedMap };

class Nf4Rows final : public RowDecoder {
 public:
  Nf4Rows(const Nf4Shape& shape, const PartBytes& parts)
      : shape_(shape), codes_(parts[kCodes]), absmax_(parts[kAbsmax]), absmax_codes_(parts[kAbsmax]) {
    const Elements<float> map(parts[kMap]);
    for (Index i = 0; i < 16; ++i) {
      if (map[i] == kNF4Values[static_cast<std::size_t>(i)]) continue;
      throw Error(
          ErrorKind::kUnsupported,
          fmt::format("tensor {}: entry {} is {}, NF4 has {}; quantize the model again",
                      printable(shape.name + ".quant_map"), i, map[i], kNF4Values[static_cast<std::size_t>(i)]));
    }
    if (!shape.nested) return;
    nested_absmax_ = Elements<float>(parts[kNestedAbsmax]);
    nested_map_ = Elements<float>(parts[kNestedMap]);
  }
  void decode(Index first, Index count, std::byte* rows) const override {
    auto* block = reinterpret_cast<std::uint8_t*>(rows);
    for (Index at = first * shape_.cols; at < (first + count) * shape_.cols; at += kRowBlock) {
      const float scale = absmax(at / shape_.block);
      std::memcpy(block, &scale, 4);
      for (Index j = 0; j < kRowBlock; ++j) {
        std::uint8_t& byte = block[NF4::byte_of(j)];  // low nibbles come first
        const unsigned before = NF4::shift_of(j) == 0 ? 0 : byte;
        byte = static_cast<std::uint8_t>(before | code(at + j) << NF4::shift_of(j));
      }
      block += NF4::kBlockBytes;
    }
  }

 private:
  unsigned code(Index i) const { return (codes_[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 15u; }
  float absmax(Index i) const {
    if (!shape_.nested) return absmax_[i];
    const float scaled = nested_map_[absmax_codes_[i]] * nested_absmax_[i / shape_.nested->block];
    return scaled + shape_.nested->offset;
  }

  Nf4Shape shape_;
  Elements<std::uint8_t> codes_;
  Elements<float> absmax_;
  Elements<std::uint8_t> absmax_codes_;
  Elements<float> nested_absmax_;
  Elements<float> nested_map_;
};

class Nf4Repacking final : public Repacking {
 public:
  Nf4Repacking(Nf4Shape shape, std::vector<TensorInfo> parts)
      : Repacking(fmt::format("bitsandbytes NF4, blocks of {}{}", shape.block,
                              shape.nested ? ", scales quantized in turn" : ""),
                  std::move(parts)),
        shape_(std::move(shape)) {}
  std::unique_ptr<RowDecoder> decoder(PartBytes parts) const override {
    return std::make_unique<Nf4Rows>(shape_, parts);
  }

 private:
  Nf4Shape shape_;
};

Index positive(const QuantizationSettings& state, const char* key, const std::string& tensor) {
  const Index value = state.integer(key).value_or(0);
  if (value >= 1 && value <= Index{1} << 31) return value;
  throw Error(ErrorKind::kInput,
              fmt::format("tensor {}: '{}' is {}, expected 1 to 2^31", printable(tensor), key, value));
}

Nf4Shape shape_of(const std::string& name, const nlohmann::json& json) {
  const QuantizationSettings state(json, printable(name + std::string(kState)));
  if (state.text("quant_type").value_or("nf4") != "nf4") state.unsupported("quant_type", "supported: nf4");
  Nf4Shape shape{.name = name};
  const std::vector<Index> extents = state.integers("shape");
  if (extents.size() != 2 ||
      std::any_of(extents.begin(), extents.end(), [](Index extent) { return extent < 1 || extent > Index{1} << 31; })) {
    throw Error(ErrorKind::kInput,
                fmt::format("tensor {}: 'shape' is no pair of 1 to 2^31", printable(name + std::string(kState))));
  }
  shape.rows = extents[0];
  shape.cols = extents[1];
  shape.block = positive(state, "blocksize", name);
  if (shape.cols % kRowBlock != 0 || shape.block % kRowBlock != 0) {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("tensor {}: rows of {} in blocks of {} are not supported yet, expected multiples of {}; use "
                    "the float checkpoint or a GGUF",
                    printable(name), shape.cols, shape.block, kRowBlock));
  }
  if (!state.has("nested_blocksize")) return shape;
  shape.nested = NestedScales{.block = positive(state, "nested_blocksize", name),
                              .offset = static_cast<float>(state.number("nested_offset").value_or(0))};
  return shape;
}

void present_tensor(const std::string& name, StoredTensors& tensors) {
  const TensorInfo& stored_state = tensors.require(name + std::string(kState), {DType::kU8});
  const std::vector<std::byte> text = tensors.read(stored_state);
  const nlohmann::json json = parse_json({reinterpret_cast<const char*>(text.data()), text.size()},
                                         printable(stored_state.name), StoredTensors::kMostRead);
  Nf4Shape shape = shape_of(name, json);
  const Index elements = shape.rows * shape.cols;
  const auto part = [&](const std::string& part_name, DType dtype, Index count) -> TensorInfo {
    const TensorInfo& tensor = tensors.require(part_name, {dtype});
    if (tensor.elements() != count) {
      throw Error(ErrorKind::kInput,
                  fmt::format("tensor {} has {} values, expected {}", printable(part_name), tensor.elements(), count));
    }
    return tensor;
  };
  const Index blocks = ceil_div(elements, shape.block);
  std::vector<TensorInfo> parts = {part(name, DType::kU8, elements / 2),
                                   part(name + ".absmax", shape.nested ? DType::kU8 : DType::kF32, blocks),
                                   part(name + ".quant_map", DType::kF32, 16)};
  if (shape.nested) {
    parts.push_back(part(name + ".nested_absmax", DType::kF32, ceil_div(blocks, shape.nested->block)));
    parts.push_back(part(name + ".nested_quant_map", DType::kF32, 256));
  }
  const std::vector<Index> weight = {shape.rows, shape.cols};
  tensors.drop(stored_state);
  tensors.present(name, DType::kNF4, weight, std::make_shared<Nf4Repacking>(std::move(shape), std::move(parts)));
}

}  // namespace

void present_bitsandbytes(const QuantizationSettings& settings, StoredTensors& tensors) {
  if (settings.boolean("load_in_8bit").value_or(false)) {
    settings.unsupported("load_in_8bit", "use the float checkpoint, or one with load_in_4bit and NF4");
  }
  if (settings.text("bnb_4bit_quant_type").value_or("nf4") != "nf4") {
    settings.unsupported("bnb_4bit_quant_type", "supported: nf4");
  }
  for (const std::string& name : tensors.modules_with(kState)) present_tensor(name, tensors);
}

}  // namespace jericho
