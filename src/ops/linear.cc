// Splitting a product over the threads: any split gives the same bits, since every output is computed whole
// (numerics.md 3).
#include "ops/linear.h"

#include <functional>

#include "base/check.h"

namespace jericho {
namespace {

// Contiguous shares of a weight, a few per thread so that an unlucky thread does not hold up the rest.
constexpr Index kSharesPerThread = 4;

}  // namespace

void ActivationForms::add(DType weight) {
  switch (activation_form(weight)) {
    case ActivationForm::kF32: f32 = true; break;
    case ActivationForm::kBF16: bf16 = true; break;
    case ActivationForm::kQ8: q8 = true; break;
  }
}

LinearInput::LinearInput(const Context& context, MatrixView<const float> x, ActivationForms forms,
                         const LinearBuffers& buffers) {
  const Index T = x.extent(0);
  const Index K = x.extent(1);
  const Index padded = round_up(K, 32);
  for (const ActivationForm form : {ActivationForm::kF32, ActivationForm::kBF16, ActivationForm::kQ8}) {
    Activations& a = activations_[static_cast<std::size_t>(form)];
    a.form = form;
    a.tokens = T;
    a.cols = padded;
  }
  const bool copy_f32 = forms.f32 && (padded != K || x.row_stride() != K);
  JERICHO_CHECK(!copy_f32 || !buffers.f32.empty(), "rows {} apart of {} columns need a copy", x.row_stride(), K);
  activations_[0].f32 = copy_f32 ? buffers.f32.data() : x.data();
  activations_[1].bf16 = buffers.bf16.data();
  activations_[2].q8 = buffers.q8.data();
  activations_[2].scale = buffers.scale.data();
  activations_[2].scaled_sum = buffers.scaled_sum.data();
  activations_[2].half_sum = buffers.half_sum.data();

  const auto convert = [&](Index t, int) {
    const float* row = x.row(t).data();
    if (copy_f32) {
      float* to = buffers.f32.data() + t * padded;
      std::copy(row, row + K, to);
      std::fill(to + K, to + padded, 0.0f);
    }
    if (forms.bf16) context.kernels.round_bf16(row, K, padded, buffers.bf16.data() + t * padded);
    if (forms.q8) {
      context.kernels.quantize_q8(
          row, K, padded,
          {buffers.q8.data() + t * padded, buffers.scale.data() + t * padded / 32,
           buffers.scaled_sum.data() + t * padded / 32, buffers.half_sum.data() + t * padded / 16});
    }
  };
  if (copy_f32 || forms.bf16 || forms.q8) context.pool.run(T, std::ref(convert));
}

void linear(const Context& context, const PackedMatrix& w, const LinearInput& x, std::span<const float> bias,
            MatrixView<float> y) {
  JERICHO_CHECK(bias.empty() || static_cast<Index>(bias.size()) == w.rows, "bias of {} for {} rows", bias.size(),
                w.rows);
  const Activations& input = x.as(activation_form(w.dtype));
  const Index shares = std::min<Index>(w.strips(), kSharesPerThread * context.pool.threads());
  const auto share = [&](Index part, int) {
    context.kernels.matmul(w, input, bias.empty() ? nullptr : bias.data(), part * w.strips() / shares,
                           (part + 1) * w.strips() / shares, y);
  };
  context.pool.run(shares, std::ref(share));
}

void linear_each(const Context& context, std::span<const LinearTask> tasks, const LinearInput& x) {
  Index strips = 0;
  for (const LinearTask& task : tasks) strips += task.w->strips();
  const Index shares = std::min<Index>(strips, kSharesPerThread * context.pool.threads());
  const auto share = [&](Index part, int) {
    const Index begin = part * strips / shares, end = (part + 1) * strips / shares;
    Index before = 0;  // strips of the tasks passed so far
    for (const LinearTask& task : tasks) {
      const Index from = std::max(begin - before, Index{0}), to = std::min(end - before, task.w->strips());
      if (from < to) {
        const Activations& input = x.as(activation_form(task.w->dtype));
        context.kernels.matmul(*task.w, input.rows(task.first, task.y.extent(0)), nullptr, from, to, task.y);
      }
      before += task.w->strips();
    }
  };
  context.pool.run(shares, std::ref(share));
}

}  // namespace jericho
