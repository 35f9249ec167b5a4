// Two streams of rows side by side: see diff.h.
#include "convert/diff.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>

#include <fmt/format.h>

#include "base/thread_pool.h"
#include "convert/config_words.h"
#include "models/families.h"

namespace jericho {
namespace {

std::vector<FieldDifference> compare_fields(const ModelConfig& a, const ModelConfig& b) {
  const auto in_a = config_words(a), in_b = config_words(b);
  std::vector<FieldDifference> differences;
  const auto value = [](const auto& fields, const std::string& key) {
    const auto at = fields.find(key);
    return at == fields.end() ? std::nullopt : std::optional<std::string>(at->second);
  };
  auto keys = in_a;
  keys.insert(in_b.begin(), in_b.end());
  for (const auto& [key, unused] : keys) {
    if (value(in_a, key) != value(in_b, key)) differences.push_back({key, value(in_a, key), value(in_b, key)});
  }
  return differences;
}

bool is_same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// A weight's identity: its tensor in a directory, and where in it the weight begins.
std::string identity(const WeightSpec& spec) {
  const TensorPart& part = spec.hugging_face.parts.front();
  return part.tensor_rows > 0 ? fmt::format("{}[{}]", part.name, part.first_row) : part.name;
}

}  // namespace

// The rows of one weight as fp32, in the order of a Hugging Face directory, a chunk at a time.
class Comparison::Rows {
 public:
  static ChunkSizes sizes(const WeightLayout& layout) {
    ChunkSizes sizes;
    for (const WeightPlacement& weight : layout.placements()) sizes.add(weight, ModelFormat::kHuggingFace, DType::kF32);
    return sizes;
  }
  static Bytes buffer_bytes(const WeightLayout& layout) {
    const ChunkSizes needed = sizes(layout);
    return WeightReader::staging_bytes(layout) + needed.room + needed.output + needed.decoded;
  }

  Rows(const Side& side, std::vector<const WeightPlacement*> weights, IoBackend& io, std::span<std::byte> buffers)
      : sizes_(sizes(side.layout)),
        buffers_(buffers.subspan(WeightReader::staging_bytes(side.layout).size())),
        reader_(side.file, side.layout, std::move(weights), io,
                buffers.first(WeightReader::staging_bytes(side.layout).size())) {}

  // The values that follow, as many as are at hand, at most `most`.
  std::span<const float> next(const Context& context, std::size_t most, const std::stop_token& stop) {
    if (at_ == values_.size()) refill(context, stop);
    const std::span<const float> some = values_.subspan(at_, std::min(most, values_.size() - at_));
    at_ += some.size();
    return some;
  }
  [[nodiscard]] Bytes done() const { return done_; }

 private:
  void refill(const Context& context, const std::stop_token& stop) {
    if (row_ == chunk_.rows) {
      chunk_ = reader_.next(stop).value();
      row_ = 0;
      done_ += chunk_.stored_bytes;
    }
    const RowConverter converter(*chunk_.weight, ModelFormat::kHuggingFace, DType::kF32);
    const auto room = buffers_.first(sizes_.room.size());
    const auto decoded = buffers_.subspan(room.size(), sizes_.decoded.size());
    const WeightRows piece = piece_of(chunk_, row_, decoded);
    const auto out = buffers_.subspan(room.size() + decoded.size(), converter.output_bytes(piece.rows).size());
    converter.convert({context.ledger, one_, context.kernels}, piece, room, out);
    row_ += piece.rows;
    values_ = {reinterpret_cast<const float*>(out.data()), out.size() / 4};
    at_ = 0;
  }

  ChunkSizes sizes_;
  std::span<std::byte> buffers_;
  ThreadPool one_{1};  // comparing waits for the disk; one thread keeps the rooms small
  WeightReader reader_;
  WeightRows chunk_{};
  Index row_ = 0;
  std::span<const float> values_{};
  std::size_t at_ = 0;
  Bytes done_{};
};

Comparison::Side::Side(const ModelFile& model)
    : file(model), config(read_config(model)), layout(WeightLayout::of_file(config, model)) {}

Bytes Comparison::Side::buffer_bytes() const { return round_up(Rows::buffer_bytes(layout), 4096_B); }

Comparison::Comparison(const ModelFile& a, const ModelFile& b) : a_(a), b_(b) {}

Bytes Comparison::buffer_bytes() const { return a_.buffer_bytes() + b_.buffer_bytes(); }

ModelDifference Comparison::run(const Context& context, IoBackend& io_a, IoBackend& io_b, std::span<std::byte> buffers,
                                const std::stop_token& stop, const Progress& progress) const {
  ModelDifference result;
  result.fields = compare_fields(a_.config, b_.config);
  std::unordered_map<std::string, const WeightPlacement*> in_b;
  for (const WeightPlacement& weight : b_.layout.placements()) {
    if (!weight.spec.hugging_face.parts.front().name.empty()) in_b.emplace(identity(weight.spec), &weight);
  }
  std::vector<const WeightPlacement*> from_a, from_b;
  for (const WeightPlacement& weight : a_.layout.placements()) {
    if (weight.spec.hugging_face.parts.front().name.empty()) continue;
    const std::string name = identity(weight.spec);
    const auto other = in_b.find(name);
    if (other == in_b.end()) {
      result.only_a.push_back(name);
      continue;
    }
    const WeightSpec& a = weight.spec;
    const WeightSpec& b = other->second->spec;
    if (a.rows != b.rows || a.cols != b.cols) {
      result.other_shapes.push_back(fmt::format("{}: [{}, {}] and [{}, {}]", name, a.rows, a.cols, b.rows, b.cols));
    } else {
      from_a.push_back(&weight);
      from_b.push_back(other->second);
    }
    in_b.erase(other);
  }
  for (const WeightPlacement& weight : b_.layout.placements()) {
    if (in_b.count(identity(weight.spec)) > 0) result.only_b.push_back(identity(weight.spec));
  }
  Rows rows_a(a_, from_a, io_a, buffers.first(a_.buffer_bytes().size()));
  Rows rows_b(b_, from_b, io_b, buffers.subspan(a_.buffer_bytes().size()));
  for (std::size_t i = 0; i < from_a.size(); ++i) {
    const WeightSpec& spec = from_a[i]->spec;
    WeightDifference difference{.name = identity(spec),
                                .a = from_a[i]->source->dtype,
                                .b = from_b[i]->source->dtype,
                                .elements = spec.rows * spec.cols};
    double squares = 0, of_a = 0;
    for (auto left = static_cast<std::size_t>(difference.elements); left > 0;) {
      std::span<const float> a = rows_a.next(context, left, stop);
      // Both sides hold chunks of their own size: the shorter of what is at hand is compared.
      while (!a.empty()) {
        const std::span<const float> b = rows_b.next(context, a.size(), stop);
        for (std::size_t k = 0; k < b.size(); ++k) {
          const double x = static_cast<double>(a[k]), d = is_same(a[k], b[k]) ? 0 : x - static_cast<double>(b[k]);
          if (!is_same(a[k], b[k])) ++difference.different;
          difference.largest = std::max(difference.largest, std::abs(d));
          squares += d * d;
          of_a += x * x;
        }
        a = a.subspan(b.size());
        left -= b.size();
      }
      if (progress) progress(rows_a.done() + rows_b.done(), bytes());
    }
    difference.relative_rms = squares == 0 ? 0
                              : of_a == 0  ? std::numeric_limits<double>::infinity()
                                           : std::sqrt(squares / of_a);
    result.weights.push_back(std::move(difference));
  }
  return result;
}

}  // namespace jericho
