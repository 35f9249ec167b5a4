// Weights, micro-batches, updates and checkpoints, step by step: see trainer.h.
#include "train/trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/normals.h"
#include "base/philox.h"
#include "kernels/training_kernels.h"
#include "ops/training_rows.h"
#include "train/run_identity.h"
#include "train/shuffle.h"
#include "train/start_model.h"

namespace jericho {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The key of a tensor's random numbers.
PhiloxKey stream_key(std::uint64_t seed, const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  const std::uint64_t key = mix64(seed ^ hash);
  return {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
}

constexpr std::uint32_t kInitPurpose = 1;

TensorRole role_of(TrainedKind kind) {
  switch (kind) {
    case TrainedKind::kProjection: return TensorRole::kProjection;
    case TrainedKind::kEmbedding: return TensorRole::kEmbedding;
    case TrainedKind::kHead: return TensorRole::kHead;
    case TrainedKind::kVector: return TensorRole::kVector;
  }
  return TensorRole::kVector;
}

Bytes float_bytes(Index values) { return Bytes{values * 4}; }

std::span<float> floats(const Arena& arena, Index values) {
  return {reinterpret_cast<float*>(arena.bytes().data()), static_cast<std::size_t>(values)};
}

Arena take(const Context& context, Purpose purpose, Bytes size) {
  return Arena(context.ledger.require(Tier::kRam, purpose, arena_bytes(size)), {.populate = true});
}

}  // namespace

std::vector<TrainedShape> trained_shapes(const TrainingLayout& layout) {
  std::vector<TrainedShape> shapes;
  for (const TrainedTensor& t : layout.tensors()) {
    shapes.push_back(
        {.name = t.name, .rows = t.rows, .cols = t.cols, .role = role_of(t.kind), .head_rows = t.head_rows});
  }
  return shapes;
}

TrainingPlan plan_training(const ModelConfig& config, const TrainingLayout& layout, const TrainOptions& options,
                           int threads, Bytes room, Bytes start) {
  TrainingPlan plan;
  plan.weights = arena_bytes(float_bytes(layout.weight_values()));
  plan.gradients = arena_bytes(float_bytes(layout.gradient_values()));
  Bytes states{}, scratch = start;
  for (const TrainedShape& shape : trained_shapes(layout)) {
    const auto optimizer = make_optimizer(options.optimizer, shape);
    states += optimizer->state_bytes();
    plan.heap = std::max(plan.heap, optimizer->heap_bytes());
    scratch = std::max({scratch, optimizer->scratch_bytes(threads), Bytes{ceil_div(shape.size(), kSumLeaf) * 8 + 64}});
  }
  plan.optimizer = arena_bytes(states);
  plan.scratch = arena_bytes(scratch);
  const auto with = [&](Index sequences, Recompute recompute) {
    plan.pass = {.sequences = sequences,
                 .sequence_tokens = options.sequence_tokens,
                 .compute = options.compute,
                 .recompute = recompute,
                 .threads = threads};
    plan.activations = TrainingPass::memory(config, layout, plan.pass);
    for (Bytes* part : {&plan.activations.saved, &plan.activations.live, &plan.activations.logits})
      *part = arena_bytes(*part);
    return plan.total() <= room;
  };
  // A micro-batch of many tokens has its products at full speed already; more only takes memory.
  constexpr Index kEnoughTokens = 4096;
  const Index most =
      options.micro_sequences > 0
          ? options.micro_sequences
          : std::min(options.step_sequences, std::max<Index>(1, kEnoughTokens / options.sequence_tokens));
  const Index least = options.micro_sequences > 0 ? options.micro_sequences : 1;
  for (const auto& [recompute, word] : {std::pair{Recompute::kNone, "none"}, std::pair{Recompute::kBlock, "block"}}) {
    if (options.recompute != "auto" && options.recompute != word) continue;
    for (Index sequences = most; sequences >= least;
         sequences = sequences / 2 >= least ? sequences / 2 : sequences - 1) {
      if (with(sequences, recompute)) return plan;
    }
  }
  return plan;
}

Trainer::Trainer(const Context& context, const TrainOptions& options, const ModelConfig& config,
                 const TrainingLayout& layout, const TrainingPlan& plan, const TokenStore& train,
                 const TokenStore* valid, const StartModel* start, std::vector<SideFile> side_files)
    : context_(context),
      options_(options),
      config_(config),
      layout_(layout),
      plan_(plan),
      sampler_(train, options.mode, options.separate_documents, options.sequence_tokens, options.seed),
      valid_(valid),
      start_(start),
      side_files_(std::move(side_files)),
      checkpoints_(options.output, options.keep_last),
      weights_(take(context, Purpose::kMaster, plan.weights)),
      gradients_(take(context, Purpose::kGrad, plan.gradients)),
      states_(take(context, Purpose::kOpt, plan.optimizer)),
      scratch_(take(context, Purpose::kOpt, plan.scratch)),
      saved_(take(context, Purpose::kAct, plan.activations.saved)),
      live_(take(context, Purpose::kAct, plan.activations.live)),
      logits_(take(context, Purpose::kLogits, plan.activations.logits)),
      heap_(context.ledger.require(Tier::kRam, Purpose::kRuntime, plan.heap)),
      pass_(config, layout, plan.pass),
      data_hash_(train.hash()) {
  Bytes offset{};
  for (const TrainedShape& shape : trained_shapes(layout)) {
    optimizers_.push_back(make_optimizer(options.optimizer, shape));
    state_offsets_.push_back(offset);
    offset += optimizers_.back()->state_bytes();
  }
}

TrainingPass::Memory Trainer::memory() const { return {saved_.bytes(), live_.bytes(), logits_.bytes()}; }

TrainedState Trainer::state() {
  TrainedState s{layout_, floats(weights_, layout_.weight_values()), optimizers_, {}};
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    s.states.push_back(states_.bytes().subspan(state_offsets_[i].size(), optimizers_[i]->state_bytes().size()));
  }
  return s;
}

void Trainer::start_weights(const std::stop_token& stop) {
  const TrainedState s = state();
  if (start_ != nullptr) {
    start_->read(context_, layout_, s.weights, scratch_.bytes(), stop);
  } else {
    new_weights();
  }
  for (std::size_t i = 0; i < optimizers_.size(); ++i) optimizers_[i]->start(s.states[i]);
}

void Trainer::new_weights() {
  const TrainedState s = state();
  const auto executed = static_cast<double>(config_.num_hidden_layers * config_.layer_passes);
  for (std::size_t i = 0; i < layout_.tensors().size(); ++i) {
    const TrainedTensor& t = layout_.tensors()[i];
    const MatrixView<float> w = layout_.weight(s.weights, static_cast<Index>(i));
    if (!t.is_matrix()) {
      std::fill_n(w.data(), t.size(), t.neutral);
    } else {
      double deviation = static_cast<double>(options_.init_std);
      if (t.residual_output && options_.init_scaled) deviation /= std::sqrt(2 * executed);
      const PhiloxKey key = stream_key(options_.seed, t.name);
      const auto blocks = [&](Index begin, Index end, int) {
        for (Index block = begin; block < end; ++block) {
          const auto index = static_cast<std::uint64_t>(block);
          const auto values = philox_normals(
              {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), kInitPurpose, 0}, key);
          for (Index lane = 0; lane < 4 && 4 * block + lane < t.size(); ++lane) {
            w.data()[4 * block + lane] = static_cast<float>(deviation * values[static_cast<std::size_t>(lane)]);
          }
        }
      };
      parallel_for(context_.pool, ceil_div(t.size(), 4), 4096, blocks);
    }
  }
}

Index Trainer::steps() {
  if (options_.steps > 0) return options_.steps;
  const auto sequences = static_cast<double>(sampler_.epoch_sequences(0)) * options_.epochs;
  return std::max<Index>(1, static_cast<Index>(sequences) / options_.step_sequences);
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
  const TrainedState s = state();
  const std::span<float> gradients = floats(gradients_, layout_.gradient_values());
  set_zero(context_, gradients);
  const Index T = options_.sequence_tokens;
  const std::vector<StoredRows> weights = layout_.weights(s.weights);
  GradientArena sink(layout_, gradients);
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
              weights, &sink, memory(), losses);
    for (const double each : losses) loss += each;
  }
  loss /= static_cast<double>(std::max<Index>(1, rows.trained));
  tokens_ += rows.trained;
  // The uses of a weight together, then the norm of all gradients.
  Scratch scratch(scratch_.bytes());
  double squares = 0;
  for (std::size_t i = 0; i < layout_.tensors().size(); ++i) {
    const auto index = static_cast<Index>(i);
    const auto values = [&](Index use) {
      const MatrixView<float> g = layout_.gradient(gradients, index, use);
      return std::span<float>(g.data(), static_cast<std::size_t>(layout_.tensor(index).size()));
    };
    const auto uses = static_cast<Index>(layout_.tensor(index).gradients.size());
    for (Index use = 1; use < uses; ++use) add(context_, values(use), values(0));
    const ScratchScope scope(scratch);
    squares += sum_squares(context_, values(0), scratch.take<double>(ceil_div(layout_.tensor(index).size(), kSumLeaf)));
  }
  gradient_norm = std::sqrt(squares);
  if (!std::isfinite(loss) || !std::isfinite(gradient_norm)) {
    throw Error(
        ErrorKind::kInput,
        fmt::format("step {}: the loss is {} and the gradient's norm {}; nothing was changed by it, and the last "
                    "checkpoint stands: try a lower schedule.peak, a longer schedule.warmup, or a clip",
                    step + 1, loss, gradient_norm));
  }
  const double clip = static_cast<double>(options_.clip);
  const double factor = clip > 0 ? std::min(1.0, clip / (gradient_norm + 1e-6)) : 1.0;
  const auto rate = static_cast<float>(learning_rate(options_.schedule, step, steps()));
  for (std::size_t i = 0; i < layout_.tensors().size(); ++i) {
    const auto index = static_cast<Index>(i);
    const MatrixView<float> g = layout_.gradient(gradients, index, 0);
    if (factor < 1) {
      scale(context_, static_cast<float>(factor), {g.data(), static_cast<std::size_t>(layout_.tensor(index).size())});
    }
    const ScratchScope scope(scratch);
    const UpdateStep update = {
        .number = step + 1, .learning_rate = rate, .key = stream_key(options_.seed, layout_.tensor(index).name)};
    optimizers_[i]->step(context_, update, layout_.weight(s.weights, index), g, s.states[i], scratch);
  }
  return loss;
}

EvalReport Trainer::evaluate(Index step) {
  Sampler sampler(*valid_, options_.mode, options_.separate_documents, options_.sequence_tokens, options_.seed);
  const Index all = sampler.ordered_sequences(), sequences = std::min(all, options_.eval_sequences);
  const TrainedState s = state();
  EvalReport report{.step = step};
  const std::vector<StoredRows> weights = layout_.weights(s.weights);
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
  if (sequences == all) {
    report.bits_per_byte = report.loss / 0.693147180559945309 / static_cast<double>(valid_->text_bytes().count);
  }
  report.loss /= static_cast<double>(std::max<Index>(1, report.tokens));
  return report;
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
  const Index total = steps();
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
    if (due(options_.save_every) || ends) save(step, watch);
    if (stop.stop_requested()) return step == total;
  }
  return true;
}

}  // namespace jericho
