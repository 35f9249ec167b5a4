// Matrix products on AMX tiles, the entry: which kernel takes which weights and how many tokens. Block formats go to
// matmul_amx_int8-inl.h, up to four tokens of them to the VNNI kernel; bf16 to matmul_amx_bf16-inl.h; the rest has no
// use for tiles.
#include "base/check.h"
#include "kernels/cpu/targets.h"
#include "kernels/matmul.h"

#if defined(JERICHO_MATMUL_AMX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_MATMUL_AMX_INL_H_
#undef JERICHO_MATMUL_AMX_INL_H_
#else
#define JERICHO_MATMUL_AMX_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/matmul_amx_bf16-inl.h"
#include "kernels/cpu/matmul_amx_int8-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

template <class Tiles>
void matmul_on_tiles(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                     MatrixView<float> y) {
  if (x.tokens == 0) return;
  const bool few = x.tokens <= kFewTokens;
  if (activation_form(w.dtype) == ActivationForm::kF32 || (few && w.dtype != DType::kBF16)) {
    return matmul(w, x, bias, strip_begin, strip_end, y);
  }
  JERICHO_CHECK(x.cols == w.padded_cols() && x.form == activation_form(w.dtype), "x has {} columns, w {}", x.cols,
                w.cols);
  visit_block_format(
      w.dtype,
      [&]<class Format>() {
        if constexpr (Format::kSpan == DotSpan::kSegment) {
          int8_segments<Tiles, Format>(w, x, bias, strip_begin, strip_end, y);
        } else {
          int8_tokens<Tiles, Format>(w, x, bias, strip_begin, strip_end, y);
        }
      },
      [&] {
        if (few) return bf16_few_tokens<Tiles>(w, x, bias, strip_begin, strip_end, y);
        bf16_tokens<Tiles>(w, x, bias, strip_begin, strip_end, y);
      });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
