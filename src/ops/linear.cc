// Splitting a product over the threads: any split gives the same bits, since every output is computed whole
// (numerics.md 3).
#include "ops/linear.h"

#include <functional>

#include "base/check.h"

namespace jericho {
namespace {

// Contiguous shares of a weight, a few per thread so that an unlucky thread does not hold up the rest.
constexpr Index kSharesPerThread = 4;

constexpr Index kGathered = 1024;  // columns gathered at a time: whole groups, and little enough for the stack

void multiply(const Context& context, const PackedMatrix& w, const Activations& x, const float* bias,
              MatrixView<float> y) {
  const Index shares = std::min<Index>(w.strips(), kSharesPerThread * context.pool.threads());
  const auto share = [&](Index part, int) {
    context.kernels.matmul(w, x, bias, part * w.strips() / shares, (part + 1) * w.strips() / shares, y);
  };
  context.pool.run(shares, std::ref(share));
}

}  // namespace

void ActivationForms::add(DType weight) {
  switch (activation_form(weight)) {
    case ActivationForm::kF32: f32 = true; break;
    case ActivationForm::kBF16: bf16 = true; break;
    case ActivationForm::kQ8: q8 = true; break;
    case ActivationForm::kQ8Of128: q8_of_128 = true; break;
    case ActivationForm::kQ8OfRow: q8_of_row = true; break;
  }
}

void ActivationForms::add_ordered(DType weight) {
  // Only groups of columns have an order; a row with one scale has none.
  JERICHO_CHECK(activation_form(weight) == ActivationForm::kQ8 || activation_form(weight) == ActivationForm::kQ8Of128,
                "columns of {} in an order of their own", name(weight));
  ordered_q8 = true;
}

LinearInput::LinearInput(const Context& context, MatrixView<const float> x, ActivationForms forms,
                         const LinearBuffers& buffers)
    : x_(x), ordered_q8_(buffers.ordered_q8) {
  const Index T = x.extent(0);
  const Index K = x.extent(1);
  const Index padded = round_up(K, 32);
  for (std::size_t form = 0; form < kActivationForms; ++form) {
    activations_[form].form = static_cast<ActivationForm>(form);
    activations_[form].tokens = T;
    activations_[form].cols = padded;
  }
  const auto of = [&](ActivationForm form) -> Activations& { return activations_[static_cast<std::size_t>(form)]; };
  const bool copy_f32 = forms.f32 && (padded != K || x.row_stride() != K);
  JERICHO_CHECK(!copy_f32 || !buffers.f32.empty(), "rows {} apart of {} columns need a copy", x.row_stride(), K);
  of(ActivationForm::kF32).f32 = copy_f32 ? buffers.f32.data() : x.data();
  of(ActivationForm::kBF16).bf16 = buffers.bf16.data();
  buffers.q8.set(of(ActivationForm::kQ8));
  buffers.q8_of_128.set(of(ActivationForm::kQ8Of128));
  buffers.q8_of_row.set(of(ActivationForm::kQ8OfRow));

  const bool q8_of_128 = forms.q8_of_128 && K % 128 == 0;  // else no weight that reads x can want it
  const auto convert = [&](Index t, int) {
    const float* row = x.row(t).data();
    if (copy_f32) {
      float* to = buffers.f32.data() + t * padded;
      std::copy(row, row + K, to);
      std::fill(to + K, to + padded, 0.0f);
    }
    if (forms.bf16) context.kernels.round_bf16(row, K, padded, buffers.bf16.data() + t * padded);
    if (forms.q8) context.kernels.quantize_q8(row, K, padded, 32, buffers.q8.row(t, padded));
    if (q8_of_128) context.kernels.quantize_q8(row, K, padded, 128, buffers.q8_of_128.row(t, padded));
    if (forms.q8_of_row) context.kernels.quantize_q8(row, K, padded, padded, buffers.q8_of_row.row(t, padded));
  };
  const bool q8 = forms.q8 || q8_of_128 || forms.q8_of_row;
  if (copy_f32 || forms.bf16 || q8) context.pool.run(T, std::ref(convert));
}

Activations LinearInput::in_order(const Context& context, DType weight, std::span<const std::int32_t> order,
                                  Index first, Index count) const {
  const ActivationForm form = activation_form(weight);
  const Index K = x_.extent(1);
  JERICHO_CHECK(static_cast<Index>(order.size()) == K && K % 32 == 0, "an order of {} for {} columns", order.size(), K);
  JERICHO_CHECK(static_cast<Index>(ordered_q8_.q8.size()) >= count * K, "no room for {} rows in order", count);
  const auto convert = [&](Index t, int) {
    const float* row = x_.row(first + t).data();
    alignas(64) std::array<float, kGathered> gathered;
    for (Index begin = 0; begin < K; begin += kGathered) {
      const Index columns = std::min(kGathered, K - begin);
      for (Index c = 0; c < columns; ++c) {
        gathered[static_cast<std::size_t>(c)] = row[order[static_cast<std::size_t>(begin + c)]];
      }
      context.kernels.quantize_q8(gathered.data(), columns, columns, scale_columns(form, K),
                                  ordered_q8_.row(t, K, begin));
    }
  };
  context.pool.run(count, std::ref(convert));
  Activations a = {.form = form, .tokens = count, .cols = K};
  ordered_q8_.set(a);
  return a;
}

void linear(const Context& context, const PackedMatrix& w, const LinearInput& x, std::span<const float> bias,
            MatrixView<float> y) {
  JERICHO_CHECK(bias.empty() || static_cast<Index>(bias.size()) == w.rows, "bias of {} for {} rows", bias.size(),
                w.rows);
  const Activations input = w.input_order.empty() ? x.as(activation_form(w.dtype))
                                                  : x.in_order(context, w.dtype, w.input_order, 0, y.extent(0));
  multiply(context, w, input, bias.empty() ? nullptr : bias.data(), y);
}

void linear_each(const Context& context, std::span<const LinearTask> tasks, const LinearInput& x) {
  Index strips = 0;
  for (const LinearTask& task : tasks) {
    const PackedMatrix& w = *task.w;
    if (w.input_order.empty()) {
      strips += w.strips();
    } else {  // one after the other: they share the room for rows in order
      multiply(context, w, x.in_order(context, w.dtype, w.input_order, task.first, task.y.extent(0)), nullptr, task.y);
    }
  }
  const Index shares = std::min<Index>(strips, kSharesPerThread * context.pool.threads());
  const auto share = [&](Index part, int) {
    const Index begin = part * strips / shares, end = (part + 1) * strips / shares;
    Index before = 0;  // strips of the tasks passed so far
    for (const LinearTask& task : tasks) {
      if (!task.w->input_order.empty()) continue;
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
