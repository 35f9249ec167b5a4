// Rooflines and searches over them: see bounds.h.
#include "audit/bounds.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace jericho {
namespace {

constexpr Index kMostRows = Index{1} << 20;

// The first of (0, most] for which `reached` holds, of a property that stays once it holds.
template <class Reached>
std::optional<Index> first_of(Index most, const Reached& reached) {
  if (!reached(most)) return std::nullopt;
  Index no = 0, yes = most;
  while (yes - no > 1) {
    const Index middle = no + (yes - no) / 2;
    (reached(middle) ? yes : no) = middle;
  }
  return yes;
}

}  // namespace

std::string_view name(Resource resource) {
  constexpr std::array<std::string_view, 3> kNames = {"capacity", "bandwidth", "compute"};
  return kNames[static_cast<std::size_t>(resource)];
}

Bound bound_of(const std::vector<Op>& ops, double tokens, const Device& device) {
  Bound bound{.tokens = tokens};
  for (const Op& op : ops) {
    const double read = op.memory_bytes() / device.bytes_per_second;
    double compute = 0;
    for (std::size_t kind = 0; kind < op.operations.size(); ++kind) {
      if (device.peaks[kind] > 0) compute += op.operations[kind] / device.peaks[kind];
    }
    bound.read_seconds += read;
    bound.compute_seconds += compute;
    bound.seconds += std::max(read, compute);
  }
  bound.resource = bound.read_seconds >= bound.compute_seconds ? Resource::kBandwidth : Resource::kCompute;
  return bound;
}

Bound decode_bound(const ModelView& model, const Device& device, KvTypes type, double batch, double context) {
  return bound_of(decode_ops(model, type, batch, context), batch, device);
}

Bound prefill_bound(const ModelView& model, const Device& device, KvTypes type, double tokens, double chunk) {
  return bound_of(prefill_ops(model, type, tokens, chunk), tokens, device);
}

double critical_batch(double ridge, double bits_per_weight) { return ridge * bits_per_weight / 8 / 2; }

Starvation find_starvation(const ModelView& model, const Device& device, KvTypes type, Index batch, Index context,
                           Index model_context, const Fits& fits) {
  Starvation s;
  s.fits = fits(batch, context);
  const auto at = [](Index n) { return static_cast<double>(n); };
  s.single = decode_bound(model, device, type, 1, at(context)).resource;
  s.batch_of_capacity = first_of(kMostSequences, [&](Index b) { return !fits(b, context); });
  s.context_of_capacity = first_of(model_context, [&](Index t) { return !fits(batch, t); });
  s.batch_of_compute = first_of(kMostRows, [&](Index b) {
    return decode_bound(model, device, type, at(b), at(context)).resource == Resource::kCompute;
  });
  s.tokens_of_compute = first_of(kMostRows, [&](Index t) {
    return prefill_bound(model, device, type, at(t), at(t)).resource == Resource::kCompute;
  });
  s.crossover = crossover_context(checkpoint_bytes(model.weights), kv_layout(model.config, type).bytes_per_token());
  const bool capacity_first =
      s.batch_of_capacity && (!s.batch_of_compute || *s.batch_of_capacity <= *s.batch_of_compute);
  s.first = !s.fits || capacity_first ? Resource::kCapacity
            : s.batch_of_compute      ? Resource::kCompute
                                      : Resource::kBandwidth;
  return s;
}

Verdict verdict_of(const Utilization& u) {
  constexpr double kHalf = 0.5;
  if (u.bandwidth >= kHalf) return u.compute >= kHalf ? Verdict::kBalanced : Verdict::kMemoryBound;
  if (u.compute >= kHalf) return Verdict::kComputeBound;
  return u.disk >= kHalf ? Verdict::kDiskBound : Verdict::kOverheadBound;
}

std::string_view name(Verdict verdict) {
  constexpr std::array<std::string_view, 5> kNames = {"memory-bound", "compute-bound", "bound by latency and overhead",
                                                      "balanced", "disk-bound"};
  return kNames[static_cast<std::size_t>(verdict)];
}

std::string_view explanation(const Utilization& u) {
  if (u.bandwidth > 1.02) {
    return "more than the memory can give: the model lies in the last-level cache, or the bandwidth was measured too "
           "low";
  }
  if (u.bandwidth >= 0.7) {
    return "at the wall of memory: only fewer bytes help (fewer bits, a larger batch, speculation, experts, sparse KV)";
  }
  if (u.bandwidth >= 0.5) {
    return "bound by memory, with room: barriers, small ops, page faults or unpacking take part of the time";
  }
  if (u.compute >= 0.5) {
    return "bound by arithmetic: fewer operations or narrower ones help (8-bit weights and activations), more "
           "bandwidth does not";
  }
  if (u.disk >= 0.5) {
    return "bound by the disk: more --memory keeps more weights, several sequences at once share what is read";
  }
  return "not bound by memory: latency, too few threads, remote memory, small pages, slow unpacking, or throttling";
}

}  // namespace jericho
