// Types, then the stream: see convert.h. What surrounds the tensors is written by side_files.h and config_to_gguf.h.
#include "convert/convert.h"

#include <algorithm>
#include <fstream>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "base/half.h"
#include "convert/config_to_gguf.h"
#include "convert/config_words.h"
#include "convert/output_file.h"
#include "convert/row_converter.h"
#include "convert/side_files.h"
#include "formats/gguf_writer.h"
#include "formats/safetensors_writer.h"
#include "memory/file.h"
#include "memory/stream_writer.h"
#include "models/families.h"
#include "models/weight_reader.h"

namespace jericho {
namespace {

ModelFormat format_of(const std::filesystem::path& output) {
  return output.extension() == ".gguf" ? ModelFormat::kGguf : ModelFormat::kHuggingFace;
}

// What a directory of floats keeps its matrices in when the source's type is none of safetensors'.
DType float_type(DType source) {
  switch (source) {
    case DType::kF32:
    case DType::kBF16:
    case DType::kF16: return source;
    default: return DType::kF16;  // more digits than BF16, and no block format reaches its limits
  }
}

// The type of a tensor's weights in the source; where they differ, one that holds them all.
DType common_type(const OutputTensor& tensor) {
  const DType first = tensor.weights.front()->source->dtype;
  const bool same = std::all_of(tensor.weights.begin(), tensor.weights.end(),
                                [&](const WeightPlacement* weight) { return weight->source->dtype == first; });
  return same ? first : DType::kF32;
}

// Would blocks of the source's type be rounded again, since their columns have an order of their own or become rows?
bool loses_blocks(const OutputTensor& tensor, ModelFormat target) {
  return std::any_of(tensor.weights.begin(), tensor.weights.end(), [&](const WeightPlacement* weight) {
    const bool ordered = weight->repacking() != nullptr && weight->repacking()->ordered();
    return ordered || (weight->turns_values() && !weight->spec.form(target).transposed);
  });
}

bool is_exact(DType dtype, float value) {
  if (dtype == DType::kBF16) return to_float(to_bf16(value)) == value;
  if (dtype == DType::kF16) return to_float(to_f16(value)) == value;
  return true;
}

ConvertOptions without_trailing_slash(ConvertOptions options) {
  if (!options.output.has_filename()) options.output = options.output.parent_path();
  return options;
}

constexpr int kWriteSlots = 4;

}  // namespace

// The leased block, cut into what run() needs.
class Conversion::Buffers {
 public:
  Buffers(const Conversion& c, std::span<std::byte> block, int threads) {
    const ChunkSizes sizes = c.chunk_sizes();
    const auto take = [&](Bytes size) {
      const std::span<std::byte> piece = block.first(size.size());
      block = block.subspan(size.size());
      return piece;
    };
    written_ = take(StreamWriter::buffer_bytes(kWriteSlots));
    staging_ = take(WeightReader::staging_bytes(c.layout_));
    rooms_ = take(sizes.room * threads);
    output_ = take(sizes.output);
    decoded_ = take(sizes.decoded);
  }

  [[nodiscard]] std::span<std::byte> written() const { return written_; }  // slots of the output
  [[nodiscard]] std::span<std::byte> staging() const { return staging_; }
  [[nodiscard]] std::span<std::byte> rooms() const { return rooms_; }
  [[nodiscard]] std::span<std::byte> output() const { return output_; }
  [[nodiscard]] std::span<std::byte> decoded() const { return decoded_; }

 private:
  std::span<std::byte> written_, staging_, rooms_, output_, decoded_;
};

ChunkSizes Conversion::chunk_sizes() const {
  ChunkSizes sizes;
  for (const OutputTensor& tensor : tensors_) {
    // Values may yet be narrowed; F32 is the most they take.
    const DType dtype = tensor.is_matrix() ? tensor.dtype : DType::kF32;
    for (const WeightPlacement* weight : tensor.weights) sizes.add(*weight, target_, dtype, rank_);
  }
  return sizes;
}

Conversion::Conversion(const ModelFile& file, ConvertOptions options)
    : file_(file),
      options_(without_trailing_slash(std::move(options))),
      target_(format_of(options_.output)),
      config_(read_config(file)),
      layout_(WeightLayout::of_file(config_, file)) {
  refuse_existing(options_.output);
  if (options_.adapters != nullptr) check_merge();
  tensors_ = output_tensors(layout_, target_, [&](const OutputTensor& tensor) { return type_of(tensor); });
  add_computed();
  if (target_ == ModelFormat::kGguf && file_.format() == ModelFormat::kHuggingFace) refuse_losses();
}

std::size_t Conversion::place_of(const WeightPlacement& weight) const {
  return static_cast<std::size_t>(&weight - layout_.placements().data());
}

bool Conversion::is_merged(const OutputTensor& tensor) const {
  return options_.adapters != nullptr &&
         std::any_of(tensor.weights.begin(), tensor.weights.end(),
                     [&](const WeightPlacement* weight) { return options_.adapters->adapts(place_of(*weight)); });
}

void Conversion::check_merge() {
  rank_ = options_.adapters->shape(layout_, 1).rank;
  if (config_.tie_word_embeddings && options_.adapters->adapts(0)) {
    throw Error(
        ErrorKind::kUnsupported,
        "an adapter of the head cannot be merged into this model, whose head is its embedding too; run it beside "
        "the model");
  }
}

void Conversion::refuse_losses() const {
  const std::vector<std::string> lost = lost_in_gguf(config_, tensors_);
  if (lost.empty()) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: a GGUF of {} cannot say: {}{}", file_.path().string(), config_.architecture,
                          lost.front(), lost.size() > 1 ? fmt::format(" (and {} more)", lost.size() - 1) : ""));
}

DType Conversion::type_of(const OutputTensor& tensor) const {
  if (!tensor.is_matrix()) return DType::kF32;
  const WeightPlacement& weight = *tensor.weights.front();
  DType source = common_type(tensor);
  // Blocks would be rounded a second time: only where a type is asked for.
  if (is_merged(tensor) && is_block(source)) source = DType::kF16;
  if (target_ == ModelFormat::kGguf) {
    if (options_.mix) return options_.mix->type_of(tensor.name, tensor.shape.back(), config_);
    return info(source).gguf_type >= 0 && !loses_blocks(tensor, target_) ? source : DType::kF16;
  }
  if (options_.mix) return options_.mix->type_of(weight.spec.name(ModelFormat::kGguf), tensor.shape.back(), config_);
  return float_type(source);
}

void Conversion::add_computed() {
  if (target_ != ModelFormat::kGguf || config_.rope_divisors_in_file) return;
  const auto add = [&](const std::string& name, std::vector<float> values) {
    if (values.empty()) return;
    tensors_.push_back({.name = name,
                        .dtype = DType::kF32,
                        .shape = {static_cast<Index>(values.size())},
                        .computed = std::move(values)});
  };
  const auto narrow = [](const std::vector<double>& values) {
    return std::vector<float>(values.begin(), values.end());
  };
  add(config_.gguf_names.rope_divisors, rope_divisors(config_.rope));
  if (config_.rope.scaling != RopeScaling::kLongRope || config_.rope.factors_in_file) return;
  add(config_.gguf_names.rope_short_divisors, narrow(config_.rope.short_factor));
  add(config_.gguf_names.rope_long_divisors, narrow(config_.rope.long_factor));
}

Bytes Conversion::bytes() const {
  Bytes sum{};
  for (const OutputTensor& tensor : tensors_) sum += tensor_bytes(tensor.dtype, tensor.shape);
  return sum;
}

Bytes Conversion::buffer_bytes(int threads) const {
  const ChunkSizes sizes = chunk_sizes();
  return StreamWriter::buffer_bytes(kWriteSlots) + WeightReader::staging_bytes(layout_) + sizes.room * threads +
         sizes.output + sizes.decoded;
}

Bytes Conversion::heap_bytes() const {
  // Names and shapes of every tensor, here and in the writer's header, which also holds the tokenizer's lists.
  constexpr Index kPerTensor = 1024, kPerToken = 256, kPerWeight = 64, kPerChunk = 32;
  return {kPerTensor * static_cast<Index>(tensors_.size()) + kPerToken * config_.vocab_size +
          kPerWeight * static_cast<Index>(layout_.placements().size()) +
          kPerChunk * ceil_div(layout_.file_bytes().count, Index{1} << 20)};
}

// The values of a directory are in the type of its matrices where that loses nothing, as checkpoints have them.
void Conversion::narrow_values(const Context& context, IoBackend& io, const Buffers& buffers,
                               const std::stop_token& stop) {
  const auto first_matrix =
      std::find_if(tensors_.begin(), tensors_.end(), [](const OutputTensor& t) { return t.is_matrix(); });
  if (target_ != ModelFormat::kHuggingFace || first_matrix == tensors_.end()) return;
  const DType narrow = first_matrix->dtype;
  if (narrow != DType::kF16 && narrow != DType::kBF16) return;
  for (OutputTensor& tensor : tensors_) {
    if (tensor.is_matrix()) continue;
    bool exact = true;
    WeightReader reader(file_, layout_, tensor.weights, io, buffers.staging());
    while (const auto chunk = reader.next(stop)) {
      const RowConverter converter(*chunk->weight, target_, DType::kF32);
      const std::span<std::byte> out = buffers.output().first(converter.output_bytes(chunk->rows).size());
      converter.convert(context, *chunk, buffers.rooms(), out);
      const std::span<const float> values(reinterpret_cast<const float*>(out.data()), out.size() / 4);
      exact = exact && std::all_of(values.begin(), values.end(), [&](float v) { return is_exact(narrow, v); });
    }
    if (exact) tensor.dtype = narrow;
  }
}

template <class Writer>
void Conversion::write_tensors(Writer& writer, const std::filesystem::path& path, const Context& context,
                               const ConvertIo& io, const Buffers& buffers, const std::stop_token& stop,
                               const Progress& progress) {
  const File file = File::create(path, bytes());  // and the header, which is small
  StreamWriter output(io.output, file, buffers.written());
  StreamWriterBuffer streambuf(output);
  std::ostream out(&streambuf);
  out.exceptions(std::ios::badbit);
  writer.begin(out);
  stream(writer, context, io.input, buffers, stop, progress);
  output.finish();
}

template <class Writer>
void Conversion::stream(Writer& writer, const Context& context, IoBackend& io, const Buffers& buffers,
                        const std::stop_token& stop, const Progress& progress) {
  std::vector<const WeightPlacement*> order;
  for (const OutputTensor& tensor : tensors_) order.insert(order.end(), tensor.weights.begin(), tensor.weights.end());
  WeightReader reader(file_, layout_, std::move(order), io, buffers.staging());
  Bytes done{};
  const Bytes total = bytes();
  for (const OutputTensor& tensor : tensors_) {
    if (!tensor.computed.empty()) writer.append(std::as_bytes(std::span(tensor.computed)));
    for (const WeightPlacement* weight : tensor.weights) {
      std::vector<const LowRankWeight*> merged;
      if (options_.adapters != nullptr) merged = options_.adapters->terms(place_of(*weight));
      const auto write = [&](std::span<const std::byte> rows) {
        writer.append(rows);
        done += Bytes{static_cast<std::int64_t>(rows.size())};
        if (progress) progress(done, total);
      };
      convert_weight(
          context, reader, {*weight, target_, tensor.dtype, merged}, {buffers.rooms(), buffers.decoded()}, stop,
          [&](Bytes size) { return buffers.output().first(size.size()); }, write);
    }
  }
}

void Conversion::write_gguf(const std::filesystem::path& path, const Context& context, const ConvertIo& io,
                            const Buffers& buffers, const std::stop_token& stop, const Progress& progress) {
  GgufWriter writer;
  notes_ = write_gguf_metadata(file_, config_, tensors_, options_.mix ? &*options_.mix : nullptr, writer);
  for (const OutputTensor& tensor : tensors_) writer.add_tensor(tensor.name, tensor.dtype, tensor.shape);
  write_tensors(writer, path, context, io, buffers, stop, progress);
}

void Conversion::write_directory(const std::filesystem::path& path, const Context& context, const ConvertIo& io,
                                 const Buffers& buffers, const std::stop_token& stop, const Progress& progress) {
  std::filesystem::create_directory(path);
  for (const SideFile& side : directory_side_files(file_, config_, tensors_)) {
    write_text(path / side.name, side.bytes);
  }
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  for (const OutputTensor& tensor : tensors_) writer.add_tensor(tensor.name, tensor.dtype, tensor.shape);
  write_tensors(writer, path / "model.safetensors", context, io, buffers, stop, progress);
}

void Conversion::note_unused() {
  std::unordered_set<const TensorInfo*> used;
  for (const WeightPlacement& weight : layout_.placements()) used.insert(weight.source);
  std::vector<std::string> unused;
  for (const TensorInfo& tensor : file_.tensors()) {
    if (used.count(&tensor) == 0) unused.push_back(tensor.name);
  }
  if (unused.empty()) return;
  notes_.push_back(fmt::format("{} tensors are not part of the decoder and were left out, '{}' the first",
                               unused.size(), unused.front()));
}

void Conversion::run(const Context& context, const ConvertIo& io, std::span<std::byte> block,
                     const std::stop_token& stop, const Progress& progress) {
  const Buffers buffers(*this, block, context.pool.threads());
  narrow_values(context, io.input, buffers, stop);
  UnfinishedOutput output(options_.output);
  if (target_ == ModelFormat::kGguf) {
    write_gguf(output.path(), context, io, buffers, stop, progress);
  } else {
    write_directory(output.path(), context, io, buffers, stop, progress);
  }
  output.finish();
  note_unused();
}

}  // namespace jericho
