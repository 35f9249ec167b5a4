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

// The columns of a task's y that the strips [from, to) of its weight make.
MatrixView<float> columns_of(const LinearTask& task, Index from, Index to) {
  const Index begin = from * kStripRows;
  return task.y.cols(begin, std::min(to * kStripRows, task.w->rows) - begin);
}

void multiply(const Context& context, const LinearTask& task, const Activations& x, Index from, Index to) {
  const float* bias = task.bias.empty() ? nullptr : task.bias.data();
  context.kernels.matmul(*task.w, x, bias, from, to, task.y);
  if (task.factor == 1) return;
  const MatrixView<float> y = columns_of(task, from, to);
  for (Index t = 0; t < y.extent(0); ++t) {
    for (float& value : y.row(t)) value *= task.factor;
  }
}

// Of a weight whose columns are in the order of the input.
void multiply(const Context& context, const LinearTask& task, const LinearInput& x, Index from, Index to) {
  const Activations& input = x.as(activation_form(task.w->dtype));
  multiply(context, task, input.rows(task.first, task.y.extent(0)), from, to);
}

bool is_ordered(const LinearTask& task) { return !task.w->input_order.empty(); }
bool is_ordered(const GatedTask& task) { return is_ordered(task.gate) || is_ordered(task.up); }
Index strips_of(const LinearTask& task) { return task.w->strips(); }
Index strips_of(const GatedTask& task) { return strips_of(task.gate); }

// body(task, first strip, end) for all strips of all tasks, split over the pool together.
template <class Task, class Body>
void share_strips(const Context& context, std::span<const Task> tasks, Body body) {
  Index strips = 0;
  for (const Task& task : tasks) strips += strips_of(task);
  const Index shares = std::min<Index>(strips, kSharesPerThread * context.pool.threads());
  const auto share = [&](Index part, int) {
    const Index begin = part * strips / shares, end = (part + 1) * strips / shares;
    Index before = 0;  // strips of the tasks passed so far
    for (const Task& task : tasks) {
      const Index from = std::max(begin - before, Index{0}), to = std::min(end - before, strips_of(task));
      if (from < to) body(task, from, to);
      before += strips_of(task);
    }
  };
  context.pool.run(shares, std::ref(share));
}

void multiply_ordered(const Context& context, const LinearTask& task, const LinearInput& x) {
  const PackedMatrix& w = *task.w;
  const Activations input = x.in_order(context, w.dtype, w.input_order, task.first, task.y.extent(0));
  share_strips(context, std::span(&task, 1),
               [&](const LinearTask& only, Index from, Index to) { multiply(context, only, input, from, to); });
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
    : LinearInput(context, x, forms, buffers, nullptr) {}

LinearInput::LinearInput(const Context& context, MatrixView<const float> x, ActivationForms forms,
                         const LinearBuffers& buffers, const MakeRow* make)
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

  const bool q8_of_128 = !buffers.q8_of_128.q8.empty();
  const auto convert = [&](Index t, int) {
    if (make != nullptr) (*make)(t);
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
  if (make != nullptr || copy_f32 || forms.bf16 || q8) context.pool.run(T, std::ref(convert));
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
  const LinearTask task = {&w, 0, y, bias};
  linear_each(context, {&task, 1}, x);
}

void linear_each(const Context& context, std::span<const LinearTask> tasks, const LinearInput& x) {
  bool all_ordered = true;
  for (const LinearTask& task : tasks) {
    JERICHO_CHECK(task.bias.empty() || static_cast<Index>(task.bias.size()) == task.w->rows, "bias of {} for {} rows",
                  task.bias.size(), task.w->rows);
    // One after the other: they share the room for rows in order.
    if (is_ordered(task)) multiply_ordered(context, task, x);
    all_ordered = all_ordered && is_ordered(task);
  }
  if (all_ordered) return;
  share_strips(context, tasks, [&](const LinearTask& task, Index from, Index to) {
    if (!is_ordered(task)) multiply(context, task, x, from, to);
  });
}

void linear_gated(const Context& context, Activation activation, std::span<const GatedTask> tasks,
                  const LinearInput& x) {
  for (const GatedTask& task : tasks) {
    JERICHO_CHECK(task.gate.w->rows == task.up.w->rows, "{} gates for {} values", task.gate.w->rows, task.up.w->rows);
    if (!is_ordered(task)) continue;
    linear_each(context, {&task.gate, 1}, x);
    linear_each(context, {&task.up, 1}, x);
  }
  share_strips(context, tasks, [&](const GatedTask& task, Index from, Index to) {
    if (!is_ordered(task)) {
      multiply(context, task.gate, x, from, to);
      multiply(context, task.up, x, from, to);
    }
    const MatrixView<float> gate = columns_of(task.gate, from, to);
    context.kernels.glu(activation, gate, columns_of(task.up, from, to), gate);
  });
}

}  // namespace jericho
