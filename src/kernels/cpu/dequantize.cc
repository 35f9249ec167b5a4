// File rows as fp32 for AVX2 and AVX-512: sixteen values at a time, by the operations of the twin in packed_matrix.cc
// and with its bits. Compiled once per target; start at dequantize_file_row().
#include <array>

#include "kernels/block_scales.h"
#include "kernels/cpu/file_rows_targets.h"
#include "kernels/strip_layout.h"
#include "tensor/block_formats.h"
#include "tensor/row_formats.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dequantize.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/block_codes-inl.h"
#include "kernels/cpu/float_rows-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/strip-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

template <class Format>
HWY_INLINE void dequantize_blocks(Index cols, const std::uint8_t* block, float* out) {
  using Layout = StripLayout<Format>;
  alignas(64) std::array<std::uint8_t, Layout::kBlockElements> codes;
  std::array<std::uint8_t, Layout::kFieldBytes> fields;
  for (Index b = 0; b < cols / Layout::kBlockElements; ++b, block += Layout::kBlockBytes) {
    unpack_codes<Format>(block, codes.data());
    gather_fields<Format>(block, fields.data());
    for (Index at = 0; at < Layout::kBlockElements; at += 16) {
      const GroupScale group = Format::scale(fields.data(), static_cast<int>(at / kGroup));
      const std::size_t half = at % kGroup / 16;
      float scale = group.scale;
      if constexpr (Format::kHasSub) scale *= static_cast<float>(group.sub[half]);
      float minimum = group.minimum;
      if constexpr (Format::kHasMinSub) minimum *= static_cast<float>(group.minimum_sub[half]);
      __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(codes.data() + at));
      if constexpr (kHasTable<Format>) {
        bytes =
            _mm_shuffle_epi8(_mm_load_si128(reinterpret_cast<const __m128i*>(kMultiplicands<Format>.at.data())), bytes);
      }
      const I32x16 integers = add(widen_bytes(bytes), set_int(-Format::kOffset - group.zero));
      F32x16 value = multiply(set(scale), to_float(integers));
      if constexpr (Format::kHasMin) value = add(value, set(minimum));
      store(value, out + b * Layout::kBlockElements + at);
    }
  }
}

template <class Half, class Load>
HWY_INLINE void widen_halves(Index cols, const std::byte* row, float* out, Load load_16) {
  const auto* halves = reinterpret_cast<const Half*>(row);
  for (Index c = 0; c + 16 <= cols; c += 16) store(load_16(halves + c), out + c);
  if (const Index c = cols / 16 * 16; c < cols) {
    std::array<Half, 16> last{};
    std::copy(halves + c, halves + cols, last.begin());
    store_first(load_16(last.data()), out + c, cols - c);
  }
}

// Row formats, which are whole blocks.
template <class Format>
HWY_INLINE void decode_rows(Index cols, const std::byte* row, float* out) {
  const CodedRows<Format> rows;
  using Values = typename CodedRows<Format>::Values;
  for (Index c = 0; c < cols; c += Values::kColumns) {
    const Values values = rows.decode(row, c);
    for (int i = 0; i < Values::kVectors; ++i) store(values.at[i], out + c + 16 * i);
  }
}

}  // namespace

void dequantize_file_row(DType dtype, Index cols, const std::byte* file_row, float* out) {
  visit_block_format(
      dtype,
      [&]<class Format>()
          HWY_ATTR { dequantize_blocks<Format>(cols, reinterpret_cast<const std::uint8_t*>(file_row), out); },
      [&]() HWY_ATTR {
        switch (dtype) {
          case DType::kF16:
            return widen_halves<F16>(cols, file_row, out, [](const F16* p) HWY_ATTR { return load_f16(p); });
          case DType::kBF16:
            return widen_halves<BF16>(cols, file_row, out, [](const BF16* p) HWY_ATTR { return load_bf16(p); });
          case DType::kNF4: return decode_rows<NF4>(cols, file_row, out);
          case DType::kFP8: return decode_rows<FP8>(cols, file_row, out);
          default: jericho::dequantize_file_row(dtype, cols, file_row, out);
        }
      });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
