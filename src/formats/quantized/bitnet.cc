// BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764) as transformers stores it. Ternary weights with one scale:
//   offline  P.weight U8 [O / 4, C]: byte (r, c) holds rows r + i O / 4 at bits 2 i, as value + 1; P.weight_scale [1].
//            "bitlinear" divides its output by the scale, "autobitlinear" multiplies.
//   online   P.weight in float: W = clamp(rint(w / d), -1, 1) * d with d = max(mean |w|, 1e-5), of the whole tensor
// Activations are 8 bits per group of 32 like those of every integer weight, where BitNet has one scale per token.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "formats/printable.h"
#include "formats/quantized/integer_rows.h"
#include "formats/quantized/methods.h"

namespace jericho {
namespace {

// One row of values -1, 0, 1 plus one, written as TQ2F.
template <class Code>
void put_ternary_row(Index cols, float scale, Code code, std::uint8_t* blocks) {
  constexpr Index kBlock = info(DType::kTQ2F).block_elements;
  for (Index c = 0; c < cols; c += kBlock, blocks += info(DType::kTQ2F).block_bytes.count) {
    for (Index m = 0; m < 32; ++m) {
      unsigned byte = 0;
      for (Index i = 0; i < 4; ++i) byte |= static_cast<unsigned>(code(c + 32 * i + m)) << (2 * i);
      blocks[m] = static_cast<std::uint8_t>(byte);
    }
    put_scale(TQ2F::kScaleFields[0], scale, blocks);
  }
}

enum class ScaleUse { kMultiply, kDivide };

class OfflineRows final : public RowDecoder {
 public:
  OfflineRows(const TensorInfo& weight, DType scale, ScaleUse use, const PartBytes& parts)
      : quarter_(weight.shape[0]), cols_(weight.shape[1]), bytes_(parts[0]) {
    const float stored = ScaleElements(scale, parts[1])[0];
    scale_ = use == ScaleUse::kMultiply ? stored : 1.0f / stored;
    if (!(scale_ >= 1e-6f && scale_ <= 1e6f)) {
      throw Error(ErrorKind::kInput, fmt::format("tensor {}: with its scale of {} every weight would be {} or 0, which "
                                                 "cannot be right; is 'linear_class' in config.json?",
                                                 printable(weight.name), stored, scale_));
    }
    for (Index i = 0; i < quarter_ * cols_; ++i) {
      const std::uint8_t byte = bytes_[i];
      if ((byte & (byte >> 1) & 0x55u) == 0) continue;
      throw Error(ErrorKind::kInput,
                  fmt::format("tensor {}: byte {} is {}, which holds a code of 3: weights are 0, 1 or 2",
                              printable(weight.name), i, byte));
    }
  }
  void decode(Index first, Index count, std::byte* rows) const override {
    const Index row_bytes = storage_bytes(DType::kTQ2F, cols_).count;
    for (Index r = 0; r < count; ++r) {
      const Index line = (first + r) % quarter_;
      const auto shift = static_cast<unsigned>((first + r) / quarter_ * 2);
      const auto code = [&](Index c) { return (bytes_[line * cols_ + c] >> shift) & 3; };
      put_ternary_row(cols_, scale_, code, reinterpret_cast<std::uint8_t*>(rows) + r * row_bytes);
    }
  }

 private:
  Index quarter_;
  Index cols_;
  Elements<std::uint8_t> bytes_;
  float scale_ = 0;
};

class OnlineRows final : public RowDecoder {
 public:
  OnlineRows(const TensorInfo& weight, const PartBytes& parts)
      : cols_(weight.shape[1]), values_(weight.dtype, parts[0]) {
    double sum = 0;
    for (Index i = 0; i < weight.elements(); ++i) sum += std::abs(static_cast<double>(values_[i]));
    scale_ = std::max(static_cast<float>(sum / static_cast<double>(weight.elements())), 1e-5f);
    if (!std::isfinite(scale_)) {
      throw Error(ErrorKind::kInput,
                  fmt::format("tensor {}: holds values that are not finite", printable(weight.name)));
    }
  }
  void decode(Index first, Index count, std::byte* rows) const override {
    const Index row_bytes = storage_bytes(DType::kTQ2F, cols_).count;
    for (Index r = 0; r < count; ++r) {
      const auto code = [&](Index c) {
        const float value = std::nearbyint(values_[(first + r) * cols_ + c] / scale_);
        return static_cast<int>(std::clamp(value, -1.0f, 1.0f)) + 1;
      };
      put_ternary_row(cols_, scale_, code, reinterpret_cast<std::uint8_t*>(rows) + r * row_bytes);
    }
  }

 private:
  Index cols_;
  ScaleElements values_;
  float scale_ = 0;
};

class OfflineRepacking final : public Repacking {
 public:
  OfflineRepacking(ScaleUse use, std::vector<TensorInfo> parts)
      : Repacking(fmt::format("BitNet, {} weight_scale", use == ScaleUse::kMultiply ? "times" : "over"),
                  std::move(parts)),
        use_(use) {}
  std::unique_ptr<RowDecoder> decoder(PartBytes bytes) const override {
    return std::make_unique<OfflineRows>(parts()[0], parts()[1].dtype, use_, bytes);
  }

 private:
  ScaleUse use_;
};

class OnlineRepacking final : public Repacking {
 public:
  explicit OnlineRepacking(std::vector<TensorInfo> parts) : Repacking("BitNet, rounded on load", std::move(parts)) {}
  std::unique_ptr<RowDecoder> decoder(PartBytes bytes) const override {
    return std::make_unique<OnlineRows>(parts()[0], bytes);
  }
};

void expect_whole_blocks(const TensorInfo& weight) {
  constexpr Index kBlock = info(DType::kTQ2F).block_elements;
  if (weight.shape[1] % kBlock == 0) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("tensor {}: ternary rows of {} are not supported yet, expected a multiple of {}; use the "
                          "float checkpoint or a GGUF",
                          printable(weight.name), weight.shape[1], kBlock));
}

void present_offline(ScaleUse use, StoredTensors& tensors) {
  for (const std::string& module : tensors.modules_with(".weight_scale")) {
    const TensorInfo& weight = tensors.require(module + ".weight", {DType::kU8});
    const TensorInfo& scale = tensors.require(module + ".weight_scale", {DType::kBF16, DType::kF32, DType::kF16});
    expect_matrix(weight);
    expect_whole_blocks(weight);
    if (!scale.shape.empty()) expect_shape(scale, {1});
    const std::vector<Index> shape = {4 * weight.shape[0], weight.shape[1]};
    tensors.present(module + ".weight", DType::kTQ2F, shape,
                    std::make_shared<OfflineRepacking>(use, std::vector<TensorInfo>{weight, scale}));
  }
}

// All matrices but those that look up or compute token ids and those that the configuration spares.
void present_online(const std::vector<std::string>& spared, StoredTensors& tensors) {
  for (const std::string& module : tensors.modules_with(".weight")) {
    const auto is_spared = [&](const std::string& name) { return module == name || module.ends_with("." + name); };
    const TensorInfo& weight = *tensors.find(module + ".weight");
    if (weight.shape.size() != 2 || is_spared("lm_head") || is_spared("embed_tokens") ||
        std::any_of(spared.begin(), spared.end(), is_spared)) {
      continue;
    }
    static_cast<void>(tensors.require(weight.name, {DType::kBF16, DType::kF16, DType::kF32}));
    expect_matrix(weight);
    expect_whole_blocks(weight);
    const std::vector<Index> shape = weight.shape;
    tensors.present(module + ".weight", DType::kTQ2F, shape,
                    std::make_shared<OnlineRepacking>(std::vector<TensorInfo>{weight}));
  }
}

}  // namespace

void present_bitnet(const QuantizationSettings& settings, StoredTensors& tensors) {
  const std::string linear = settings.text("linear_class").value_or("bitlinear");
  if (linear != "bitlinear" && linear != "autobitlinear") {
    settings.unsupported("linear_class", "supported: bitlinear, autobitlinear");
  }
  if (settings.boolean("use_rms_norm").value_or(false)) {
    settings.unsupported("use_rms_norm", "supported: models without norms inside their linears");
  }
  const std::string mode = settings.text("quantization_mode").value_or("offline");
  if (mode == "offline") {
    present_offline(linear == "autobitlinear" ? ScaleUse::kMultiply : ScaleUse::kDivide, tensors);
  } else if (mode == "online") {
    present_online(settings.texts("modules_to_not_convert"), tensors);
  } else {
    settings.unsupported("quantization_mode", "supported: offline, online");
  }
}

}  // namespace jericho
