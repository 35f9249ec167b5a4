// Weights, micro-batches, updates and checkpoints, step by step: see trainer.h.
#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/sampler.h"
#include "kernels/training_kernels.h"
#include "ops/training_rows.h"
#include "train/first_adapters.h"
#include "train/first_weights.h"
#include "train/fused_updates.h"
#include "train/run_identity.h"
#include "train/start_model.h"
#include "train/update_weight.h"

namespace jericho {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::span<float> floats(const Arena& arena, Index values) {
  return {reinterpret_cast<float*>(arena.bytes().data()), static_cast<std::size_t>(values)};
}

Arena take(const Context& context, Purpose purpose, Bytes size) {
  return Arena(context.ledger.require(Tier::kRam, purpose, arena_bytes(size)), {.populate = true});
}

// By epochs the first one is packed to be counted, so it is asked once.
Index steps_of(const TrainOptions& options, SequenceSampler& sampler) {
  if (options.steps > 0) return options.steps;
  const auto sequences = static_cast<double>(sampler.epoch_sequences(0)) * options.epochs;
  return std::max<Index>(1, static_cast<Index>(sequences) / options.step_sequences);
}

}  // namespace

Trainer::Trainer(const Context& context, const TrainOptions& options, const ModelConfig& config,
                 const TrainingLayout& layout, const TrainingPlan& plan, const TokenStore& train,
                 const TokenStore* valid, const StartModel* start, std::vector<SideFile> side_files, FrozenBase* base)
    : context_(context),
      options_(options),
      config_(config),
      layout_(layout),
      plan_(plan),
      sampler_(train, options.mode, options.separate_documents, options.sequence_tokens, options.seed),
      steps_(steps_of(options, sampler_)),
      valid_(valid),
      start_(start),
      base_(base),
      side_files_(std::move(side_files)),
      checkpoints_(options.output, options.keep_last),
      frozen_(base == nullptr ? Arena() : take(context, Purpose::kWeightsResident, plan.base)),
      weights_(take(context, base == nullptr ? Purpose::kMaster : Purpose::kAdapter, plan.weights)),
      gradients_(take(context, Purpose::kGrad, plan.gradients)),
      states_(take(context, Purpose::kOpt, plan.optimizer)),
      scratch_(take(context, Purpose::kOpt, plan.scratch)),
      saved_(take(context, Purpose::kAct, plan.activations.saved)),
      live_(take(context, Purpose::kAct, plan.activations.live)),
      logits_(take(context, Purpose::kLogits, plan.activations.logits)),
      heap_(context.ledger.require(Tier::kRam, Purpose::kRuntime, plan.heap)),
      places_(config, layout),
      pass_(config, layout, plan.pass),
      data_hash_(train.hash()) {
  Bytes offset{};
  const std::vector<TrainedShape> shapes = trained_shapes(layout);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const bool trained = layout.tensors()[i].is_trained();
    optimizers_.push_back(trained ? make_optimizer(options.optimizer, shapes[i]) : nullptr);
    state_offsets_.push_back(offset);
    if (trained) offset += optimizers_.back()->state_bytes();
  }
}

TrainingPass::Memory Trainer::memory() const { return {saved_.bytes(), live_.bytes(), logits_.bytes()}; }

TrainedState Trainer::state() {
  TrainedState s{layout_, weights_.bytes().first(layout_.weight_bytes().size()), optimizers_, {}};
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    const Bytes size = optimizers_[i] == nullptr ? 0_B : optimizers_[i]->state_bytes();
    s.states.push_back(states_.bytes().subspan(state_offsets_[i].size(), size.size()));
  }
  return s;
}

void Trainer::start_weights(const std::stop_token& stop) {
  const TrainedState s = state();
  if (base_ != nullptr) {
    Scratch scratch(scratch_.bytes());
    make_first_adapters(context_, layout_, options_.seed, all_weights(), s.weights, scratch);
  } else if (start_ != nullptr) {
    start_->read(context_, layout_, options_.seed, s.weights, scratch_.bytes(), stop);
  } else {
    Scratch scratch(scratch_.bytes());
    make_first_weights(context_, config_, layout_,
                       {.deviation = options_.init_std, .scaled = options_.init_scaled, .seed = options_.seed},
                       s.weights, scratch);
  }
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    if (optimizers_[i] != nullptr) optimizers_[i]->start(s.states[i]);
  }
}

std::vector<StoredRows> Trainer::all_weights() {
  std::vector<StoredRows> weights = layout_.weights(state().weights);
  if (base_ == nullptr) return weights;
  const std::vector<StoredRows> frozen = base_->rows();
  std::copy(frozen.begin(), frozen.end(), weights.begin());
  return weights;
}

void Trainer::find_gains() {
  if (base_ == nullptr) return;
  Scratch scratch(scratch_.bytes());
  compute_gains(context_, layout_, all_weights(), state().weights, scratch);
}

Trainer::Position Trainer::next_sequence(Position at) {
  if (at.index < sampler_.epoch_sequences(at.epoch)) return at;
  return {at.epoch + 1, 0};
}

double Trainer::one_step(Index step, double& gradient_norm) {
  SampleRows rows;
  for (Index i = 0; i < options_.step_sequences; ++i) {
    position_ = next_sequence(position_);
    sampler_.append(position_.epoch, position_.index, rows);
    ++position_.index;
  }
  tokens_ += rows.trained;
  const double loss = plan_.fused ? fused_step(step, rows, gradient_norm) : unfused_step(step, rows, gradient_norm);
  if (!std::isfinite(loss) || !std::isfinite(gradient_norm)) {
    throw Error(
        ErrorKind::kInput,
        fmt::format("step {}: the loss is {} and the gradient's norm {}; the last checkpoint stands: try a lower "
                    "schedule.peak, a longer schedule.warmup, or a clip",
                    step + 1, loss, gradient_norm));
  }
  return loss;
}

// The sum of losses by the number of trained tokens.
double Trainer::micro_batches(const SampleRows& rows, GradientSink* sink, std::span<const StoredRows> weights) {
  const Index T = options_.sequence_tokens;
  double loss = 0;
  std::vector<double> losses;
  std::vector<AttentionSegment> segments;
  std::size_t segment = 0;
  for (Index first = 0; first < options_.step_sequences; first += plan_.pass.sequences) {
    const Index count = std::min(plan_.pass.sequences, options_.step_sequences - first);
    const auto begin = static_cast<std::size_t>(first * T), size = static_cast<std::size_t>(count * T);
    segments.clear();
    for (; segment < rows.segments.size() && rows.segments[segment].first < (first + count) * T; ++segment) {
      segments.push_back({rows.segments[segment].first - first * T, rows.segments[segment].rows});
    }
    losses.assign(size, 0);
    pass_.run(context_,
              {.sequences = count,
               .sequence_tokens = T,
               .tokens = std::span(rows.tokens).subspan(begin, size),
               .targets = std::span(rows.targets).subspan(begin, size),
               .segments = segments,
               .factor = 1.0f / static_cast<float>(std::max<Index>(1, rows.trained))},
              weights, sink, memory(), losses);
    for (const double each : losses) loss += each;
  }
  return loss / static_cast<double>(std::max<Index>(1, rows.trained));
}

void Trainer::update(Index step, Index tensor, MatrixView<float> gradient, double factor, Scratch& scratch) {
  const auto i = static_cast<std::size_t>(tensor);
  const TrainedTensor& t = layout_.tensor(tensor);
  const bool apart = factor < 1 && !optimizers_[i]->scales();
  if (apart) {
    scale(context_, static_cast<float>(factor), {gradient.data(), static_cast<std::size_t>(t.size())});
  }
  const UpdateStep how = {.number = step + 1,
                          .learning_rate = static_cast<float>(learning_rate(options_.schedule, step, steps_)),
                          .key = stream_key(options_.seed, t.name),
                          .scale = apart ? 1.0f : static_cast<float>(factor)};
  const TrainedState s = state();
  update_weight(context_, *optimizers_[i], how, t, layout_.stored(s.weights, tensor), gradient, s.states[i], scratch);
}

double Trainer::clip_factor(double gradient_norm) const {
  const auto clip = static_cast<double>(options_.clip);
  return clip > 0 ? std::min(1.0, clip / (gradient_norm + 1e-6)) : 1.0;
}

double Trainer::unfused_step(Index step, const SampleRows& rows, double& gradient_norm) {
  const std::span<float> gradients = floats(gradients_, layout_.gradient_values());
  set_zero(context_, gradients);
  GradientArena sink(layout_, gradients);
  const double loss = micro_batches(rows, &sink, all_weights());
  // The uses of a weight together, then the norm of all gradients.
  Scratch scratch(scratch_.bytes());
  double squares = 0;
  for (Index i = 0; i < std::ssize(layout_.tensors()); ++i) {
    if (!layout_.tensor(i).is_trained()) continue;
    squares += sum_of_uses(
        context_, layout_.tensor(i), [&](Index use) { return layout_.gradient(gradients, i, use); }, scratch);
  }
  gradient_norm = std::sqrt(squares);
  if (!std::isfinite(loss) || !std::isfinite(gradient_norm)) return loss;
  const double factor = clip_factor(gradient_norm);
  for (Index i = 0; i < std::ssize(layout_.tensors()); ++i) {
    if (!layout_.tensor(i).is_trained()) continue;
    update(step, i, layout_.gradient(gradients, i, 0), factor, scratch);
  }
  find_gains();
  return loss;
}

// One micro-batch, whose gradients change the weights as they come. To clip their norm, a pass before finds it.
double Trainer::fused_step(Index step, const SampleRows& rows, double& gradient_norm) {
  Scratch scratch(scratch_.bytes());
  const std::vector<StoredRows> weights = layout_.weights(state().weights);
  double factor = 1;
  if (options_.clip > 0) {
    FusedUpdates norm(context_, layout_, places_, gradients_.bytes(), scratch, [](Index, MatrixView<float>) {});
    const double loss = micro_batches(rows, &norm, weights);
    gradient_norm = std::sqrt(norm.squares());
    if (!std::isfinite(gradient_norm)) return loss;
    factor = clip_factor(gradient_norm);
  }
  FusedUpdates updates(
      context_, layout_, places_, gradients_.bytes(), scratch,
      [&](Index tensor, MatrixView<float> gradient) { update(step, tensor, gradient, factor, scratch); });
  const double loss = micro_batches(rows, &updates, weights);
  gradient_norm = std::sqrt(updates.squares());
  return loss;
}

EvalReport Trainer::evaluate(Index step) {
  SequenceSampler sampler(*valid_, options_.mode, options_.separate_documents, options_.sequence_tokens, options_.seed);
  const Index all = sampler.ordered_sequences(), sequences = std::min(all, options_.eval_sequences);
  EvalReport report{.step = step};
  const std::vector<StoredRows> weights = all_weights();
  SampleRows rows;
  std::vector<double> losses;
  for (Index first = 0; first < sequences; first += plan_.pass.sequences) {
    const Index count = std::min(plan_.pass.sequences, sequences - first);
    rows.clear();
    for (Index i = 0; i < count; ++i) sampler.append_in_order(first + i, rows);
    losses.assign(rows.tokens.size(), 0);
    pass_.run(context_,
              {.sequences = count,
               .sequence_tokens = options_.sequence_tokens,
               .tokens = rows.tokens,
               .targets = rows.targets,
               .segments = rows.segments},
              weights, nullptr, memory(), losses);
    for (const double each : losses) report.loss += each;
    report.tokens += rows.trained;
  }
  if (sequences == all && valid_->text_bytes() > Bytes{} && valid_->cut_documents() == 0) {
    report.bits_per_byte = report.loss / 0.693147180559945309 / static_cast<double>(valid_->text_bytes().count);
  }
  report.loss /= static_cast<double>(std::max<Index>(1, report.tokens));
  return report;
}

std::vector<TokenId> Trainer::continue_text(std::span<const TokenId> prompt, Index tokens,
                                            const SamplingOptions& sampling, std::span<const TokenId> ends) {
  const Index most = options_.sequence_tokens, vocabulary = config_.vocab_size;
  std::vector<TokenId> text(prompt.begin(), prompt.begin() + std::min<Index>(std::ssize(prompt), most));
  const auto begin = text.size();
  const std::vector<StoredRows> weights = all_weights();
  const std::vector<std::int32_t> targets(static_cast<std::size_t>(most), kIgnored);
  std::vector<float> logits(static_cast<std::size_t>(vocabulary));
  Sampler sampler(sampling, vocabulary);
  sampler.accept_prompt(text);
  while (!text.empty() && std::ssize(text) < most && std::ssize(text) - static_cast<Index>(begin) < tokens) {
    const Index length = std::ssize(text);
    std::vector<std::int32_t> rows(text.begin(), text.end());
    rows.resize(static_cast<std::size_t>(most), 0);
    const AttentionSegment segment{0, length};
    pass_.logits(
        context_,
        {.sequences = 1, .sequence_tokens = most, .tokens = rows, .targets = targets, .segments = {&segment, 1}},
        weights, memory(), length - 1, {logits.data(), 1, vocabulary});
    const TokenId next = sampler.sample(logits, length);
    if (std::find(ends.begin(), ends.end(), next) != ends.end()) break;
    sampler.accept(next);
    text.push_back(next);
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(begin), text.end()};
}

void Trainer::save(Index step, const TrainWatch& watch) {
  if (saved_step_ == step) return;
  const auto start = Clock::now();
  nlohmann::json progress = {{"step", step},
                             {"epoch", position_.epoch},
                             {"index", position_.index},
                             {"tokens", tokens_},
                             {"data_hash", fmt::format("{:016x}", data_hash_)},
                             {"identity", identity()}};
  if (best_) progress["best"] = {{"step", best_->step}, {"loss", best_->loss}};
  checkpoints_.save(step, state(), progress, side_files_);
  saved_step_ = step;
  if (watch.saved) watch.saved(step, checkpoints_.folder(step), seconds_since(start));
}

nlohmann::json Trainer::identity() const {
  return run_identity(options_, training_kernels_for(context_.kernels.path).dense_order);
}

bool Trainer::run(const std::stop_token& stop, const TrainWatch& watch) {
  Index step = 0;
  if (base_ != nullptr) base_->read(context_, frozen_.bytes(), scratch_.bytes(), stop);
  if (const auto progress = checkpoints_.latest_progress()) {
    require_same_run(options_.output, progress->value("identity", nlohmann::json()), identity());
    if (progress->value("data_hash", "") != fmt::format("{:016x}", data_hash_)) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}: its checkpoints were trained on other texts or with another tokenizer; "
                              "give another output",
                              options_.output.string()));
    }
    checkpoints_.load_latest(state());
    step = progress->at("step").get<Index>();
    position_ = {progress->at("epoch").get<Index>(), progress->at("index").get<Index>()};
    tokens_ = progress->at("tokens").get<Index>();
    if (progress->contains("best")) {
      best_ = {progress->at("best").at("step").get<Index>(), progress->at("best").at("loss").get<double>()};
    }
    checkpoints_.mend_links(best_ ? std::optional(best_->step) : std::nullopt);
    saved_step_ = step;
  } else {
    start_weights(stop);
  }
  find_gains();
  const Index total = steps_;
  auto since = Clock::now();
  Index since_step = step;
  const auto due = [&](Index every) { return every > 0 && step % every == 0; };
  while (step < total) {
    double norm = 0;
    const double loss = one_step(step, norm);
    ++step;
    if (watch.step && (step % options_.log_every == 0 || step == total)) {
      const double seconds = seconds_since(since);
      const auto done = static_cast<double>((step - since_step) * options_.step_sequences * options_.sequence_tokens);
      watch.step({.step = step,
                  .steps = total,
                  .epoch = position_.epoch,
                  .loss = loss,
                  .learning_rate = learning_rate(options_.schedule, step - 1, total),
                  .gradient_norm = norm,
                  .tokens = tokens_,
                  .tokens_per_second = done / seconds,
                  .step_seconds = seconds / static_cast<double>(step - since_step)});
      since = Clock::now();
      since_step = step;
    }
    const bool ends = step == total || stop.stop_requested();
    if (valid_ != nullptr && (due(options_.eval_every) || step == total)) {
      EvalReport report = evaluate(step);
      report.best = !best_ || report.loss < best_->loss;
      if (report.best) best_ = {step, report.loss};
      if (watch.eval) watch.eval(report);
      if (report.best) {
        save(step, watch);
        checkpoints_.mark_best(step);
      }
      since = Clock::now();
      since_step = step;
    }
    if (watch.sample && (due(options_.eval_every) || step == total)) {
      watch.sample(step);
      since = Clock::now();
      since_step = step;
    }
    if (due(options_.save_every) || ends) save(step, watch);
    if (stop.stop_requested()) return step == total;
  }
  return true;
}

}  // namespace jericho
