// For tests only: quantized checkpoints, packed from the formulas of each format's description and apart from the
// readers, so that the two check each other. A Grid holds the integers of one weight; put_*() adds the tensors that
// store it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/half.h"
#include "formats/safetensors_writer.h"
#include "formats/tensor_info.h"

namespace jericho::quantized {

struct Stored {
  DType dtype{};
  std::vector<Index> shape{};
  std::vector<std::byte> bytes{};
};

class Checkpoint {
 public:
  std::map<std::string, Stored> tensors{};
  std::string config = "{}";  // the text of config.json

  template <class T>
  void put(const std::string& name, DType dtype, std::vector<Index> shape, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    tensors[name] = {dtype, std::move(shape), {bytes.begin(), bytes.end()}};
  }
  void put_text(const std::string& name, const std::string& text) {
    put(name, DType::kU8, {static_cast<Index>(text.size())}, std::vector<char>(text.begin(), text.end()));
  }
  void put_f32(const std::string& name, std::vector<Index> shape, const std::vector<float>& values) {
    put(name, DType::kF32, std::move(shape), values);
  }
  // Rounded to `dtype`: F32, F16 or BF16.
  void put_scales(const std::string& name, DType dtype, std::vector<Index> shape, const std::vector<float>& values) {
    if (dtype == DType::kF32) return put(name, dtype, std::move(shape), values);
    std::vector<std::uint16_t> halves;
    for (const float x : values) halves.push_back(dtype == DType::kF16 ? to_f16(x).bits : to_bf16(x).bits);
    put(name, dtype, std::move(shape), halves);
  }

  void save(const std::filesystem::path& directory) const {
    std::ofstream(directory / "config.json") << config;
    std::ofstream out(directory / "model.safetensors", std::ios::binary);
    SafetensorsWriter writer;
    for (const auto& [name, tensor] : tensors) writer.add_tensor(name, tensor.dtype, tensor.shape);
    writer.begin(out);
    for (const auto& [name, tensor] : tensors) writer.append(tensor.bytes);
    JERICHO_CHECK(writer.complete(), "{} tensors", tensors.size());
  }
};

// scale as a number that `dtype` holds.
inline float stored_scale(DType dtype, float x) {
  if (dtype == DType::kF16) return to_float(to_f16(x));
  return dtype == DType::kBF16 ? to_float(to_bf16(x)) : x;
}

// value(o, i) = scale(o, g) * (code(o, i) - zero(o, g)), g = group_of(i)
struct Grid {
  Index rows = 0, cols = 0, group = 0;
  int bits = 4;
  DType scale_type = DType::kF16;
  std::vector<int> codes{};                 // [rows, cols]
  std::vector<float> scales{};              // [rows, groups]
  std::vector<int> zeros{};                 // [rows, groups]
  std::vector<std::int32_t> group_index{};  // [cols] where groups are not consecutive

  [[nodiscard]] Index groups() const { return (cols + group - 1) / group; }
  [[nodiscard]] Index group_of(Index i) const {
    return group_index.empty() ? i / group : group_index[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] std::size_t at(Index o, Index g) const { return static_cast<std::size_t>(o * groups() + g); }
  [[nodiscard]] int code(Index o, Index i) const { return codes[static_cast<std::size_t>(o * cols + i)]; }
  [[nodiscard]] std::vector<float> values() const {
    std::vector<float> all;
    for (Index o = 0; o < rows; ++o) {
      for (Index i = 0; i < cols; ++i) {
        all.push_back(scales[at(o, group_of(i))] * static_cast<float>(code(o, i) - zeros[at(o, group_of(i))]));
      }
    }
    return all;
  }
};

enum class Zeros { kMiddle, kAny };

// Random codes; `size` is about the root mean square of the values.
inline Grid random_grid(Index rows, Index cols, Index group, int bits, DType scale_type, Zeros zeros, unsigned seed,
                        float size = 1.0f) {
  std::mt19937 random(seed);
  Grid grid{.rows = rows, .cols = cols, .group = group, .bits = bits, .scale_type = scale_type};
  for (Index i = 0; i < rows * cols; ++i) grid.codes.push_back(static_cast<int>(random() % (1u << bits)));
  for (Index i = 0; i < rows * grid.groups(); ++i) {
    const float scale =
        size * (1.0f + static_cast<float>(random() % 1000) / 1000.0f) * std::exp2(1.5f - static_cast<float>(bits));
    grid.scales.push_back(stored_scale(scale_type, scale));
    const auto any = static_cast<int>(random() % (1u << bits));
    grid.zeros.push_back(zeros == Zeros::kAny ? any : 1 << (bits - 1));
  }
  return grid;
}

// Gives the inputs random groups of the same sizes, as "desc_act" does.
inline void shuffle_groups(Grid& grid, unsigned seed) {
  for (Index i = 0; i < grid.cols; ++i) grid.group_index.push_back(static_cast<std::int32_t>(i / grid.group));
  std::mt19937 random(seed);
  for (std::size_t i = grid.group_index.size(); i > 1; --i) {
    std::swap(grid.group_index[i - 1], grid.group_index[random() % i]);
  }
}

// One bit at a time, as a continuous stream.
inline void put_bits(std::vector<std::uint32_t>& words, Index first_word, Index word_stride, Index bit, int bits,
                     int value) {
  for (int b = 0; b < bits; ++b) {
    const Index at = bit + b;
    const auto set = static_cast<std::uint32_t>((value >> b) & 1);
    words[static_cast<std::size_t>(first_word + at / 32 * word_stride)] |= set << (at % 32);
  }
}

enum class GptqZeros { kMinusOne, kTrue };  // checkpoint_format gptq, gptq_v2

inline void put_gptq(Checkpoint& out, const std::string& module, const Grid& w, GptqZeros zeros) {
  const Index words = w.cols * w.bits / 32, zero_words = w.rows * w.bits / 32;
  std::vector<std::uint32_t> qweight(static_cast<std::size_t>(words * w.rows));
  std::vector<std::uint32_t> qzeros(static_cast<std::size_t>(w.groups() * zero_words));
  std::vector<float> scales(static_cast<std::size_t>(w.groups() * w.rows));
  std::vector<std::int32_t> index;
  for (Index i = 0; i < w.cols; ++i) index.push_back(static_cast<std::int32_t>(w.group_of(i)));
  for (Index o = 0; o < w.rows; ++o) {
    for (Index i = 0; i < w.cols; ++i) put_bits(qweight, o, w.rows, i * w.bits, w.bits, w.code(o, i));
    for (Index g = 0; g < w.groups(); ++g) {
      const int mask = (1 << w.bits) - 1;
      const int zero = zeros == GptqZeros::kTrue ? w.zeros[w.at(o, g)] : (w.zeros[w.at(o, g)] - 1) & mask;
      put_bits(qzeros, g * zero_words, 1, o * w.bits, w.bits, zero);
      scales[static_cast<std::size_t>(g * w.rows + o)] = w.scales[w.at(o, g)];
    }
  }
  out.put(module + ".qweight", DType::kI32, {words, w.rows}, qweight);
  out.put(module + ".qzeros", DType::kI32, {w.groups(), zero_words}, qzeros);
  out.put_scales(module + ".scales", w.scale_type, {w.groups(), w.rows}, scales);
  out.put(module + ".g_idx", DType::kI32, {w.cols}, index);
}

inline void put_awq(Checkpoint& out, const std::string& module, const Grid& w) {
  constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  const auto pack = [&](Index lines, auto value) {
    std::vector<std::uint32_t> words(static_cast<std::size_t>(lines * w.rows / 8));
    for (Index line = 0; line < lines; ++line) {
      for (Index c = 0; c < w.rows / 8; ++c) {
        for (int n = 0; n < 8; ++n) {
          words[static_cast<std::size_t>(line * w.rows / 8 + c)] |=
              static_cast<std::uint32_t>(value(8 * c + kOrder[n], line)) << (4 * n);
        }
      }
    }
    return words;
  };
  std::vector<float> scales;
  for (Index g = 0; g < w.groups(); ++g) {
    for (Index o = 0; o < w.rows; ++o) scales.push_back(w.scales[w.at(o, g)]);
  }
  out.put(module + ".qweight", DType::kI32, {w.cols, w.rows / 8},
          pack(w.cols, [&](Index o, Index i) { return w.code(o, i); }));
  out.put(module + ".qzeros", DType::kI32, {w.groups(), w.rows / 8},
          pack(w.groups(), [&](Index o, Index g) { return w.zeros[w.at(o, g)]; }));
  out.put_scales(module + ".scales", w.scale_type, {w.groups(), w.rows}, scales);
}

// pack-quantized; zero points only with `zeros` kAny.
inline void put_packed(Checkpoint& out, const std::string& module, const Grid& w, Zeros zeros) {
  const Index per_word = 32 / w.bits, words = (w.cols + per_word - 1) / per_word;
  std::vector<std::uint32_t> packed(static_cast<std::size_t>(w.rows * words));
  const Index zero_rows = (w.rows + per_word - 1) / per_word;
  std::vector<std::uint32_t> zero_points(static_cast<std::size_t>(zero_rows * w.groups()));
  for (Index o = 0; o < w.rows; ++o) {
    for (Index i = 0; i < w.cols; ++i) {  // stored: value + 2^(b - 1), which is the code
      packed[static_cast<std::size_t>(o * words + i / per_word)] |= static_cast<std::uint32_t>(w.code(o, i))
                                                                    << (i % per_word * w.bits);
    }
    for (Index g = 0; g < w.groups(); ++g) {
      zero_points[static_cast<std::size_t>(o / per_word * w.groups() + g)] |=
          static_cast<std::uint32_t>(w.zeros[w.at(o, g)]) << (o % per_word * w.bits);
    }
  }
  out.put(module + ".weight_packed", DType::kI32, {w.rows, words}, packed);
  out.put(module + ".weight_shape", DType::kI64, {2}, std::vector<std::int64_t>{w.rows, w.cols});
  out.put_scales(module + ".weight_scale", w.scale_type, {w.rows, w.groups()}, w.scales);
  if (!w.group_index.empty()) out.put(module + ".weight_g_idx", DType::kI32, {w.cols}, w.group_index);
  if (zeros == Zeros::kAny) {
    out.put(module + ".weight_zero_point", DType::kI32, {zero_rows, w.groups()}, zero_points);
  }
}

// int-quantized: 8-bit codes as signed bytes.
inline void put_bytes(Checkpoint& out, const std::string& module, const Grid& w, Zeros zeros) {
  std::vector<std::int8_t> weight, zero_points;
  for (const int code : w.codes) weight.push_back(static_cast<std::int8_t>(code - 128));
  for (const int zero : w.zeros) zero_points.push_back(static_cast<std::int8_t>(zero - 128));
  out.put(module + ".weight", DType::kI8, {w.rows, w.cols}, weight);
  out.put_scales(module + ".weight_scale", w.scale_type, {w.rows, w.groups()}, w.scales);
  if (zeros == Zeros::kAny) out.put(module + ".weight_zero_point", DType::kI8, {w.rows, w.groups()}, zero_points);
}

// FP8 with a scale per block.
struct Float8Grid {
  Index rows = 0, cols = 0, block_rows = 0, block_cols = 0;
  std::vector<std::uint8_t> codes{};
  std::vector<float> scales{};  // [ceil(rows / block_rows), ceil(cols / block_cols)]

  [[nodiscard]] Index scale_cols() const { return (cols + block_cols - 1) / block_cols; }
  [[nodiscard]] Index scale_rows() const { return (rows + block_rows - 1) / block_rows; }
  [[nodiscard]] static float value_of(std::uint8_t code) {  // from the definition, in double
    const double sign = code >= 128 ? -1 : 1;
    const int exponent = code / 8 % 16, mantissa = code % 8;
    if (exponent == 15 && mantissa == 7) return std::nanf("");
    const double fraction = exponent == 0 ? mantissa / 8.0 : 1 + mantissa / 8.0;
    return static_cast<float>(sign * fraction * std::exp2(std::max(exponent, 1) - 7));
  }
  [[nodiscard]] std::vector<float> values() const {
    std::vector<float> all;
    for (Index o = 0; o < rows; ++o) {
      for (Index i = 0; i < cols; ++i) {
        all.push_back(value_of(codes[static_cast<std::size_t>(o * cols + i)]) *
                      scales[static_cast<std::size_t>(o / block_rows * scale_cols() + i / block_cols)]);
      }
    }
    return all;
  }
};

inline Float8Grid random_float8(Index rows, Index cols, Index block_rows, Index block_cols, unsigned seed,
                                float size = 1.0f) {
  std::mt19937 random(seed);
  Float8Grid grid{.rows = rows, .cols = cols, .block_rows = block_rows, .block_cols = block_cols};
  for (Index i = 0; i < rows * cols; ++i) {
    const auto code = static_cast<std::uint8_t>(random());
    grid.codes.push_back((code & 0x7f) == 0x7f ? 0 : code);
  }
  for (Index i = 0; i < grid.scale_rows() * grid.scale_cols(); ++i) {
    grid.scales.push_back(size * (1.0f + static_cast<float>(random() % 1000) / 1000.0f) / 100.0f);
  }
  return grid;
}

inline void put_float8(Checkpoint& out, const std::string& module, const Float8Grid& w, const std::string& scale,
                       std::vector<Index> scale_shape) {
  out.put(module + ".weight", DType::kF8_E4M3, {w.rows, w.cols}, w.codes);
  out.put_f32(module + scale, std::move(scale_shape), w.scales);
}

// bitsandbytes' table of 4 bits and its signed dynamic map of 8, constructed as functional.py does.
inline std::vector<float> nf4_map() {
  return {-1.0f,
          -0.6961928009986877f,
          -0.5250730514526367f,
          -0.39491748809814453f,
          -0.28444138169288635f,
          -0.18477343022823334f,
          -0.09105003625154495f,
          0.0f,
          0.07958029955625534f,
          0.16093020141124725f,
          0.24611230194568634f,
          0.33791524171829224f,
          0.44070982933044434f,
          0.5626170039176941f,
          0.7229568362236023f,
          1.0f};
}
inline std::vector<float> signed_dynamic_map() {
  std::vector<double> values = {0.0, 1.0};
  for (int i = 0; i < 7; ++i) {
    const int intervals = 1 << i;
    for (int k = 0; k < intervals; ++k) {
      const double middle = 0.1 + 0.9 * (k + 0.5) / intervals;
      values.push_back(middle * std::pow(10.0, i - 6));
      values.push_back(-middle * std::pow(10.0, i - 6));
    }
  }
  std::sort(values.begin(), values.end());
  std::vector<float> map;
  for (const double v : values) map.push_back(static_cast<float>(v));
  return map;
}

struct Nf4Grid {
  Index rows = 0, cols = 0, block = 64;
  std::vector<int> codes{};
  std::vector<float> absmax{};  // as it comes back, where it was quantized in turn
  std::vector<std::uint8_t> absmax_codes{};
  std::vector<float> nested_absmax{};
  float nested_offset = 0;

  [[nodiscard]] std::vector<float> values() const {
    const std::vector<float> map = nf4_map();
    std::vector<float> all;
    for (std::size_t i = 0; i < codes.size(); ++i) {
      all.push_back(map[static_cast<std::size_t>(codes[i])] * absmax[i / static_cast<std::size_t>(block)]);
    }
    return all;
  }
};

enum class Nested { kNo, kYes };

inline Nf4Grid random_nf4(Index rows, Index cols, Nested nested, unsigned seed, float size = 1.0f) {
  std::mt19937 random(seed);
  Nf4Grid grid{.rows = rows, .cols = cols};
  for (Index i = 0; i < rows * cols; ++i) grid.codes.push_back(static_cast<int>(random() % 16));
  const Index blocks = rows * cols / grid.block;
  if (nested == Nested::kNo) {
    for (Index i = 0; i < blocks; ++i) {
      grid.absmax.push_back(size * (1.0f + static_cast<float>(random() % 1000) / 1000.0f));
    }
    return grid;
  }
  const std::vector<float> map = signed_dynamic_map();
  grid.nested_offset = size * 1.37f;
  for (Index i = 0; i < (blocks + 255) / 256; ++i) {
    grid.nested_absmax.push_back(size * (0.3f + static_cast<float>(random() % 100) / 1000.0f));
  }
  for (Index i = 0; i < blocks; ++i) {
    grid.absmax_codes.push_back(static_cast<std::uint8_t>(random()));
    const float scaled = map[grid.absmax_codes.back()] * grid.nested_absmax[static_cast<std::size_t>(i / 256)];
    grid.absmax.push_back(scaled + grid.nested_offset);
  }
  return grid;
}

inline void put_nf4(Checkpoint& out, const std::string& name, const Nf4Grid& w) {
  std::vector<std::uint8_t> packed(w.codes.size() / 2);
  for (std::size_t i = 0; i < w.codes.size(); ++i) {
    packed[i / 2] = static_cast<std::uint8_t>(packed[i / 2] | w.codes[i] << (i % 2 == 0 ? 4 : 0));
  }
  const bool nested = !w.absmax_codes.empty();
  const auto blocks = static_cast<Index>(w.absmax.size());
  out.put(name, DType::kU8, {static_cast<Index>(packed.size()), 1}, packed);
  out.put_f32(name + ".quant_map", {16}, nf4_map());
  std::string state = fmt::format(R"({{"quant_type": "nf4", "blocksize": {}, "dtype": "bfloat16", "shape": [{}, {}])",
                                  w.block, w.rows, w.cols);
  if (nested) {
    out.put(name + ".absmax", DType::kU8, {blocks}, w.absmax_codes);
    out.put_f32(name + ".nested_absmax", {static_cast<Index>(w.nested_absmax.size())}, w.nested_absmax);
    out.put_f32(name + ".nested_quant_map", {256}, signed_dynamic_map());
    state += fmt::format(R"(, "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": {:.17g})",
                         static_cast<double>(w.nested_offset));
  } else {
    out.put_f32(name + ".absmax", {blocks}, w.absmax);
  }
  out.put_text(name + ".quant_state.bitsandbytes__nf4", state + "}");
}

// BitNet's offline form: `values` are -1, 0 and 1, [rows, cols].
inline void put_bitnet(Checkpoint& out, const std::string& module, Index rows, Index cols,
                       const std::vector<int>& values, DType scale_type, float scale) {
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(rows / 4 * cols));
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < cols; ++c) {
      std::uint8_t& byte = packed[static_cast<std::size_t>(r % (rows / 4) * cols + c)];
      byte = static_cast<std::uint8_t>(byte | (values[static_cast<std::size_t>(r * cols + c)] + 1)
                                                  << (2 * (r / (rows / 4))));
    }
  }
  out.put(module + ".weight", DType::kU8, {rows / 4, cols}, packed);
  out.put_scales(module + ".weight_scale", scale_type, {1}, {scale});
}

}  // namespace jericho::quantized
