// From a PEFT file to views, and the norms of DoRA: see adapter.h.
#include "models/adapter.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "base/error.h"
#include "kernels/file_rows.h"
#include "kernels/training_kernels.h"
#include "models/stored_form.h"
#include "models/weight_reader.h"

namespace jericho {
namespace {

constexpr Bytes kReadRoom = 64_KiB;

using LayerPlace = LowRankWeight LayerAdapter::*;

// Where the adapted weight of each linear module belongs.
std::map<const void*, LowRankWeight*> places_of(const ModelConfig& config, DecoderWeights& weights,
                                                AdapterWeights& adapted) {
  std::map<const void*, LowRankWeight*> places;
  adapted.layers.resize(weights.layers.size());
  for (std::size_t n = 0; n < weights.layers.size(); ++n) {
    const LayerConfig& kind = config.layers[n];
    DecoderLayer& layer = weights.layers[n];
    LayerAdapter& to = adapted.layers[n];
    if (kind.attention && config.latent.kv_lora_rank == 0) {
      places[&layer.q.matrix] = &to.q;
      places[&layer.k.matrix] = &to.k;
      places[&layer.v.matrix] = &to.v;
      places[&layer.o.matrix] = &to.o;
    }
    // Of a dense feed-forward, or of the shared expert.
    places[&layer.gate.matrix] = &to.gate;
    places[&layer.up.matrix] = &to.up;
    places[&layer.down.matrix] = &to.down;
  }
  places[config.tie_word_embeddings ? &weights.embedding : &weights.head] = &adapted.head;
  return places;
}

// The names of all modules that are matrices: an adapter that names another is another model's.
std::set<std::string> all_modules(const ModelConfig& config) {
  std::set<std::string> paths;
  DecoderWeights unused;
  visit_weights(config, unused, [&](const WeightSpec& spec, const WeightView&) {
    if (!spec.is_matrix()) return;
    for (const TensorPart& part : spec.hugging_face.parts) {
      WeightSpec named;
      named.hugging_face.parts = {part};
      paths.insert(module_path(named));
    }
  });
  return paths;
}

Index rows_of_module(const WeightSpec& spec) {
  const Index whole = spec.hugging_face.parts.front().tensor_rows;
  return whole > 0 ? whole : spec.rows;
}

// Rows of two-dimensional fp32 matrices, each decoded into `to(row)`, as many at a time as `room` holds.
template <class To>
void read_rows(const AdapterFile& file, const TensorInfo& tensor, Index cols, std::span<std::byte> room, To to) {
  const Bytes row = storage_bytes(tensor.dtype, cols);
  const Index rows = tensor.elements() / cols,
              together = std::max<Index>(1, Bytes{static_cast<std::int64_t>(room.size())}.count / row.count);
  for (Index first = 0; first < rows; first += together) {
    const Index count = std::min(together, rows - first);
    const std::span<std::byte> bytes = room.first((row * count).size());
    file.read(tensor, row * first, bytes);
    for (Index r = 0; r < count; ++r) to(first + r, bytes.data() + r * row.count);
  }
}

}  // namespace

std::string module_path(const WeightSpec& spec) {
  std::string path = spec.hugging_face.parts.front().name;
  if (path.ends_with(".weight")) path.resize(path.size() - 7);
  return path;
}

void visit_adaptable(const ModelConfig& config, AdapterWeights& weights, const AdaptableVisitor& visit) {
  DecoderWeights views;
  visit_weights(config, views, [](const WeightSpec&, const WeightView&) {});  // makes the layers
  const auto places = places_of(config, views, weights);
  std::size_t place = 0;
  visit_weights(config, views, [&](const WeightSpec& spec, const WeightView& view) {
    if (auto* const* matrix = std::get_if<PackedMatrix*>(&view)) {
      if (const auto found = places.find(*matrix); found != places.end()) {
        WeightSpec named = spec;
        const bool tied_head = found->second == &weights.head && config.tie_word_embeddings;
        if (tied_head) named.hugging_face.parts = {{config.hugging_face_names.head}};
        visit(named, *found->second, place);
      }
    }
    ++place;
  });
}

AdapterLayout::AdapterLayout(const ModelConfig& config, const AdapterFile& file, ModelFormat base) : file_(&file) {
  const auto where = [&] { return file.folder().string(); };
  with_context(where, [&] {
    if (base == ModelFormat::kGguf && config.architecture == "FalconH1ForCausalLM") {
      throw Error(
          ErrorKind::kUnsupported,
          "a GGUF of Falcon-H1 holds its factors inside the weights, which adapters were not trained beside; use "
          "the Hugging Face directory");
    }
    std::map<std::string, const AdapterModule*> modules;
    for (const AdapterModule& module : file.modules()) modules[module.path] = &module;
    std::set<std::string> used;
    AdapterWeights views;
    visit_adaptable(config, views, [&](const WeightSpec& spec, LowRankWeight&, std::size_t place) {
      const std::string path = module_path(spec);
      const auto found = modules.find(path);
      if (found == modules.end()) return;
      const AdapterModule& module = *found->second;
      used.insert(path);
      const auto expect = [&](const TensorInfo& tensor, Index extent, Index wanted, const char* what) {
        if (extent == wanted) return;
        throw Error(ErrorKind::kInput, fmt::format("tensor '{}': expected {} {} as the model's module has, found {}; "
                                                   "was it trained over another model?",
                                                   tensor.name, wanted, what, extent));
      };
      expect(module.a, module.in(), spec.cols, "inputs");
      expect(module.b, module.out(), rows_of_module(spec), "outputs");
      AdaptedWeight weight{.module = &module, .spec = spec, .place = place};
      const auto take = [&](Bytes size) {
        const Bytes at = bytes_;
        bytes_ += round_up(size, 64_B);
        return at;
      };
      weight.a = take(packed_bytes(DType::kF32, module.rank(), spec.cols));
      weight.b = take(Bytes{4 * module.rank() * round_up(spec.rows, 16)});
      if (module.magnitude) weight.gain = take(Bytes{4 * spec.rows});
      largest_rank_ = std::max(largest_rank_, module.rank());
      const Index longest = std::max({module.rank(), spec.cols, Index{1}});
      room_ = std::max(room_, round_up(Bytes{4 * longest}, 64_B));
      weights_.push_back(std::move(weight));
    });
    for (const auto& [path, module] : modules) {
      if (used.contains(path)) continue;
      if (all_modules(config).contains(path)) {
        throw Error(ErrorKind::kUnsupported,
                    fmt::format("module '{}': adapters of experts, latent attention, state spaces and embeddings are "
                                "not supported",
                                path));
      }
      throw Error(
          ErrorKind::kInput,
          fmt::format("module '{}': the model has none of this name; was it trained over another model?", path));
    }
    room_ += kReadRoom;
    bytes_ = round_up(bytes_, 64_B) + room_;
  });
}

Bytes AdapterLayout::norm_staging_bytes(const WeightLayout& base, int threads) const {
  if (!needs_base()) return {};
  Bytes room{};
  for (const AdaptedWeight& w : weights_) {
    const WeightPlacement& p = base.placements()[w.place];
    room =
        std::max(room, round_up(Bytes{4 * (2 * w.spec.cols + w.module->rank())}, 64_B) + round_up(p.file_row(), 64_B));
  }
  return WeightReader::staging_bytes(base) + round_up(room * threads, 4096_B);
}

Adapter::Adapter(const ModelConfig& config, const AdapterLayout& layout, float scale, Arena arena)
    : arena_(std::move(arena)) {
  const std::span<std::byte> all = arena_.bytes();
  const std::span<std::byte> room = all.subspan((layout.bytes_ - layout.room_).size(), layout.room_.size());
  auto next = layout.weights_.begin();
  visit_adaptable(config, weights_, [&](const WeightSpec& spec, LowRankWeight& to, std::size_t place) {
    if (next == layout.weights_.end() || next->place != place) return;
    const AdaptedWeight& w = *next++;
    const AdapterModule& module = *w.module;
    const AdapterFile& file = layout.file();
    const Index rank = module.rank(), first = spec.hugging_face.parts.front().first_row;
    to.a = {.dtype = DType::kF32,
            .rows = rank,
            .cols = spec.cols,
            .unit = std::lcm(default_unit(DType::kF32), spec.unit_multiple),
            .data = all.data() + w.a.count};
    float* const a = reinterpret_cast<float*>(all.data() + w.a.count);
    read_rows(file, module.a, spec.cols, room, [&](Index r, const std::byte* row) {
      dequantize_file_row(module.a.dtype, spec.cols, row, a + r * to.a.padded_cols());
    });
    const Index stride = round_up(spec.rows, 16);
    float* const b = reinterpret_cast<float*>(all.data() + w.b.count);
    to.b = {b, rank, spec.rows, stride};
    std::vector<Index> row_of(static_cast<std::size_t>(spec.rows));  // of the file's rows of this weight
    for (Index n = 0; n < spec.rows; ++n) row_of[static_cast<std::size_t>(file_row_of(spec.hugging_face.pairs, n))] = n;
    std::vector<float> values(static_cast<std::size_t>(rank));
    read_rows(file, module.b, rank, room, [&](Index file_row, const std::byte* row) {
      if (file_row < first || file_row >= first + spec.rows) return;
      dequantize_file_row(module.b.dtype, rank, row, values.data());
      const Index n = row_of[static_cast<std::size_t>(file_row - first)];
      for (Index r = 0; r < rank; ++r) b[r * stride + n] = values[static_cast<std::size_t>(r)];
    });
    if (module.magnitude) {
      float* const gain = reinterpret_cast<float*>(all.data() + w.gain.count);
      to.gain = {gain, static_cast<std::size_t>(spec.rows)};
      read_rows(file, *module.magnitude, 1, room, [&](Index file_row, const std::byte* value) {
        if (file_row < first || file_row >= first + spec.rows) return;
        dequantize_file_row(module.magnitude->dtype, 1, value,
                            gain + row_of[static_cast<std::size_t>(file_row - first)]);
      });
    }
    to.scale = static_cast<float>(module.scale) * scale;
    by_place_.emplace_back(place, &to);
  });
  weights_.largest_rank = layout.largest_rank();
}

const LowRankWeight* Adapter::find(std::size_t place) const {
  const auto found = std::lower_bound(by_place_.begin(), by_place_.end(), place,
                                      [](const auto& entry, std::size_t wanted) { return entry.first < wanted; });
  return found == by_place_.end() || found->first != place ? nullptr : found->second;
}

void Adapter::divide_by_norms(const Context& context, const AdapterLayout& layout, const WeightLayout& base,
                              const ModelFile& file, IoBackend& io, std::span<std::byte> staging,
                              const std::stop_token& stop) {
  const auto rooms = staging.first(staging.size() - WeightReader::staging_bytes(base).size());
  const std::size_t room = rooms.size() / static_cast<std::size_t>(context.pool.threads()) / 64 * 64;
  std::vector<const WeightPlacement*> placements;
  std::map<const WeightPlacement*, const AdaptedWeight*> adapted;
  for (const AdaptedWeight& w : layout.weights()) {
    placements.push_back(&base.placements()[w.place]);
    adapted[placements.back()] = &w;
  }
  std::sort(placements.begin(), placements.end(), [](const WeightPlacement* a, const WeightPlacement* b) {
    return std::pair(a->source->file, a->file_offset()) < std::pair(b->source->file, b->file_offset());
  });
  const FileRowKernels& rows_of_file = file_row_kernels_for(context.kernels.path);
  WeightReader reader(file, base, placements, io, staging.subspan(rooms.size()));
  while (const std::optional<WeightRows> chunk = reader.next(stop)) {
    const WeightPlacement& p = *chunk->weight;
    const AdaptedWeight& of = *adapted.at(&p);
    const LowRankWeight& w = *find(of.place);
    float* const gain = reinterpret_cast<float*>(arena_.bytes().data() + of.gain.count);
    const Index K = p.spec.cols;
    const auto norm_of_row = [&](Index r, int worker) {
      const Index n = chunk->first + r;
      std::byte* const own = rooms.data() + static_cast<std::size_t>(worker) * room;
      const std::span<float> values(reinterpret_cast<float*>(own), static_cast<std::size_t>(2 * K + w.rank()));
      const std::span<float> row = values.first(static_cast<std::size_t>(K));
      const Index stored = file_row_of(p.form.pairs, n);
      const std::byte* bytes = nullptr;
      std::span<const std::int32_t> order = chunk->input_order;
      if (chunk->decoder != nullptr) {
        std::byte* const decoded = own + round_up(values.size_bytes(), std::size_t{64});
        chunk->decoder->decode(p.form.parts.front().first_row + stored, 1, decoded);
        bytes = decoded;
        order = chunk->decoder->input_order();
      } else {
        bytes = chunk->bytes.data() + (stored - chunk->first) * p.file_row().count;
      }
      if (order.empty()) {
        rows_of_file.dequantize_file_row(p.source->dtype, K, bytes, row.data());
      } else {
        dequantize_in_input_order(p.source->dtype, K, order, bytes, values.data() + K, row.data());
      }
      if (p.form.factor != 1)
        for (float& value : row) value /= p.form.factor;
      add_to_weight_row(context.kernels, w, n, row, values.last(static_cast<std::size_t>(w.rank())));
      gain[n] = dora_gain(gain[n], row_norm(context.kernels.path, row));
    };
    context.pool.run(chunk->rows, std::ref(norm_of_row));
  }
}

void add_to_weight_row(const Kernels& kernels, const LowRankWeight& adapter, Index n, std::span<float> w,
                       std::span<float> u) {
  const Index rank = adapter.rank();
  for (Index r = 0; r < rank; ++r) u[static_cast<std::size_t>(r)] = adapter.scale * adapter.b(r, n);
  const MatrixView<const float> a(reinterpret_cast<const float*>(adapter.a.data), rank, adapter.a.cols,
                                  adapter.a.padded_cols());
  kernels.low_rank_add({u.data(), 1, rank}, a, {}, {w.data(), 1, adapter.a.cols});
}

float row_norm(CpuPath path, std::span<const float> w) {
  return std::sqrt(training_kernels_for(path).sum_squares(w.data(), std::ssize(w)));
}

}  // namespace jericho
