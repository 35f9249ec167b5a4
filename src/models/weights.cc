// The list of weights, their places, and how they get there: see weights.h.
#include "models/weights.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/error.h"

namespace jericho {
namespace {

constexpr Bytes kChunk = 1_MiB;  // a good size for one direct read

PackedMatrix view_of(const WeightPlacement& placement, const std::byte* arena) {
  const WeightSpec& spec = placement.spec;
  return {placement.dtype, spec.rows, spec.cols, std::lcm(default_unit(placement.dtype), spec.unit_multiple),
          arena + placement.offset.count};
}

Bytes placed_bytes(const WeightSpec& spec, DType dtype) {
  if (spec.is_matrix) return packed_bytes(dtype, spec.rows, spec.cols);
  return round_up(storage_bytes(DType::kF32, spec.cols), 64_B);
}

const TensorInfo& find_tensor(const WeightSpec& spec, const ModelFile& file) {
  const std::string& name = spec.name(file.format());
  const TensorInfo* tensor = file.find(name);
  if (tensor == nullptr) {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: tensor '{}' is missing; is the model complete?", file.path().string(), name));
  }
  const std::vector<Index> expected =
      spec.is_matrix ? std::vector<Index>{spec.rows, spec.cols} : std::vector<Index>{spec.cols};
  if (tensor->shape != expected) {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: tensor '{}' has shape [{}], the configuration asks for [{}]", file.path().string(),
                            name, fmt::join(tensor->shape, ", "), fmt::join(expected, ", ")));
  }
  const bool usable =
      spec.is_matrix ? is_packable(tensor->dtype) : is_packable(tensor->dtype) && !is_block(tensor->dtype);
  if (!usable) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: tensor '{}' has type {}, which cannot be used here",
                                                     file.path().string(), name, jericho::name(tensor->dtype)));
  }
  return *tensor;
}

// Where row i + j * half of a head lies in a file that keeps rotation pairs side by side: at row 2 i + j of that head.
Index file_row_of(const WeightSpec& spec, Index row) {
  if (spec.paired_rows == 0) return row;
  const Index half = spec.paired_rows / 2;
  const Index in_head = row % spec.paired_rows;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

// Packs the strips of one chunk: rows [first, first + rows) of the tensor, whose file bytes are `chunk`.
void pack_chunk(const Context& context, const WeightPlacement& placement, std::span<const std::byte> chunk, Index first,
                Index rows, std::span<std::byte> gather, std::byte* matrix) {
  const WeightSpec& spec = placement.spec;
  const Bytes row_bytes = storage_bytes(placement.dtype, spec.cols);
  const Bytes strip = strip_bytes(placement.dtype, spec.cols);
  const auto pack = [&](Index part, int worker) {
    const Index begin = part * kStripRows;
    const Index count = std::min(kStripRows, rows - begin);
    std::byte* to = matrix + (first + begin) / kStripRows * strip.count;
    if (spec.paired_rows == 0) {
      pack_strip(placement.dtype, spec.cols, chunk.data() + begin * row_bytes.count, row_bytes, count, to);
      return;
    }
    std::byte* gathered = gather.data() + worker * kStripRows * row_bytes.count;
    for (Index r = 0; r < count; ++r) {
      const std::byte* from = chunk.data() + file_row_of(spec, begin + r) * row_bytes.count;
      std::copy(from, from + row_bytes.count, gathered + r * row_bytes.count);
    }
    pack_strip(placement.dtype, spec.cols, gathered, row_bytes, count, to);
  };
  context.pool.run(ceil_div(rows, kStripRows), std::ref(pack));
}

Bytes largest_row(const WeightLayout& layout) {
  Bytes largest{};
  for (const WeightPlacement& p : layout.placements()) largest = std::max(largest, storage_bytes(p.dtype, p.spec.cols));
  return largest;
}

Bytes gather_bytes(const WeightLayout& layout, int threads) {
  return round_up(largest_row(layout) * (kStripRows * threads), 4096_B);
}

constexpr int kSlots = 2;  // one chunk is packed while the next is read

}  // namespace

void visit_weights(const ModelConfig& c, DecoderWeights& weights,
                   const std::function<void(const WeightSpec&, WeightView)>& visit) {
  const auto matrix = [&](std::string hf, std::string gguf, Index rows, Index cols, PackedMatrix& view, Index unit = 1,
                          Index paired = 0) {
    visit({std::move(hf), std::move(gguf), rows, cols, unit, paired, true}, &view);
  };
  const auto vector = [&](std::string hf, std::string gguf, Index size, std::span<const float>& view) {
    visit({std::move(hf), std::move(gguf), 1, size, 1, 0, false}, &view);
  };
  matrix("model.embed_tokens.weight", "token_embd.weight", c.vocab_size, c.hidden_size, weights.embedding);
  weights.layers.resize(static_cast<std::size_t>(c.num_hidden_layers));
  for (Index n = 0; n < c.num_hidden_layers; ++n) {
    DecoderLayer& layer = weights.layers[static_cast<std::size_t>(n)];
    const std::string hf = fmt::format("model.layers.{}.", n);
    const std::string gguf = fmt::format("blk.{}.", n);
    const auto linear = [&](const char* hf_name, const char* gguf_name, Index rows, Index cols, LinearWeight& view,
                            bool bias, Index unit = 1, Index paired = 0) {
      matrix(hf + hf_name + ".weight", gguf + gguf_name + ".weight", rows, cols, view.matrix, unit, paired);
      if (bias) visit({hf + hf_name + ".bias", gguf + gguf_name + ".bias", 1, rows, 1, paired, false}, &view.bias);
    };
    const Index paired = c.interleaved_qk_rows ? c.head_dim : 0;
    vector(hf + "input_layernorm.weight", gguf + "attn_norm.weight", c.hidden_size, layer.input_norm);
    linear("self_attn.q_proj", "attn_q", c.query_size(), c.hidden_size, layer.q, c.attention_qkv_bias, 1, paired);
    linear("self_attn.k_proj", "attn_k", c.kv_size(), c.hidden_size, layer.k, c.attention_qkv_bias, 1, paired);
    linear("self_attn.v_proj", "attn_v", c.kv_size(), c.hidden_size, layer.v, c.attention_qkv_bias);
    if (c.qk_norm) {
      vector(hf + "self_attn.q_norm.weight", gguf + "attn_q_norm.weight", c.head_dim, layer.q_norm);
      vector(hf + "self_attn.k_norm.weight", gguf + "attn_k_norm.weight", c.head_dim, layer.k_norm);
    }
    linear("self_attn.o_proj", "attn_output", c.hidden_size, c.query_size(), layer.o, c.attention_output_bias,
           c.head_dim);
    vector(hf + "post_attention_layernorm.weight", gguf + "ffn_norm.weight", c.hidden_size, layer.post_attention_norm);
    linear("mlp.gate_proj", "ffn_gate", c.intermediate_size, c.hidden_size, layer.gate, c.mlp_bias);
    linear("mlp.up_proj", "ffn_up", c.intermediate_size, c.hidden_size, layer.up, c.mlp_bias);
    linear("mlp.down_proj", "ffn_down", c.hidden_size, c.intermediate_size, layer.down, c.mlp_bias);
  }
  vector("model.norm.weight", "output_norm.weight", c.hidden_size, weights.norm);
  if (!c.tie_word_embeddings) matrix("lm_head.weight", "output.weight", c.vocab_size, c.hidden_size, weights.head);
  if (c.rope_divisors_in_file) vector("", "rope_freqs.weight", c.rope.dims / 2, weights.rope_divisors);
}

Index chunk_rows(const WeightPlacement& placement) {
  const Index whole = std::lcm(kStripRows, std::max<Index>(1, placement.spec.paired_rows));
  const Index row = storage_bytes(placement.dtype, placement.spec.cols).count;
  return std::max<Index>(1, kChunk.count / row / whole) * whole;
}

void WeightLayout::place(WeightPlacement placement, bool read_whole_per_token) {
  const WeightSpec& spec = placement.spec;
  placement.offset = bytes_;
  placement.size = placed_bytes(spec, placement.dtype);
  bytes_ += placement.size;
  parameters_ += spec.rows * spec.cols;
  const Bytes row = storage_bytes(placement.dtype, spec.cols);
  file_bytes_ += row * spec.rows;
  if (read_whole_per_token) decode_bytes_ += placement.size;
  largest_chunk_ = std::max(largest_chunk_, row * std::min(spec.rows, chunk_rows(placement)));
  if (spec.is_matrix) forms_.add(placement.dtype);
  placements_.push_back(std::move(placement));
}

WeightLayout WeightLayout::of_file(const ModelConfig& config, const ModelFile& file) {
  WeightLayout layout;
  DecoderWeights shape;
  visit_weights(config, shape, [&](const WeightSpec& spec, WeightView view) {
    const TensorInfo& tensor = find_tensor(spec, file);
    const bool gathered = view == WeightView(&shape.embedding) && !config.tie_word_embeddings;
    layout.place({spec, tensor.dtype, &tensor, {}, {}}, !gathered);
  });
  return layout;
}

WeightLayout WeightLayout::of_shape(const ModelConfig& config, DType dtype) {
  WeightLayout layout;
  DecoderWeights shape;
  visit_weights(config, shape, [&](const WeightSpec& spec, WeightView view) {
    const bool gathered = view == WeightView(&shape.embedding) && !config.tie_word_embeddings;
    const bool fits = spec.cols % info(dtype).block_elements == 0;
    layout.place({spec, !spec.is_matrix ? DType::kF32 : fits ? dtype : DType::kF16, nullptr, {}, {}}, !gathered);
  });
  return layout;
}

ModelWeights::ModelWeights(const ModelConfig& config, const WeightLayout& layout, Arena arena)
    : arena_(std::move(arena)) {
  JERICHO_CHECK(arena_.size() >= layout.bytes(), "an arena of {} for weights of {}", arena_.size().count,
                layout.bytes().count);
  std::size_t next = 0;
  visit_weights(config, views_, [&](const WeightSpec&, WeightView view) {
    const WeightPlacement& placement = layout.placements()[next++];
    if (auto* const* matrix = std::get_if<PackedMatrix*>(&view)) {
      **matrix = view_of(placement, arena_.bytes().data());
    } else {
      *std::get<std::span<const float>*>(view) = {
          reinterpret_cast<const float*>(arena_.bytes().data() + placement.offset.count),
          static_cast<std::size_t>(placement.spec.cols)};
    }
  });
  if (config.tie_word_embeddings) views_.head = views_.embedding;
}

Bytes ModelWeights::staging_bytes(const WeightLayout& layout, int threads) {
  return StreamReader::staging_bytes(layout.largest_chunk(), kSlots) + gather_bytes(layout, threads);
}

ModelWeights ModelWeights::load(const Context& context, const ModelConfig& config, const WeightLayout& layout,
                                const ModelFile& file, Arena arena, IoBackend& io, std::span<std::byte> staging,
                                const std::stop_token& stop, const Progress& progress) {
  ModelWeights weights(config, layout, std::move(arena));
  std::vector<const WeightPlacement*> in_file_order;
  for (const WeightPlacement& placement : layout.placements()) in_file_order.push_back(&placement);
  std::sort(in_file_order.begin(), in_file_order.end(), [](const WeightPlacement* a, const WeightPlacement* b) {
    return std::pair(a->source->file, a->source->offset) < std::pair(b->source->file, b->source->offset);
  });
  std::vector<File> files;
  for (const auto& path : file.files()) files.push_back(File::open_read(path));

  const auto gather = staging.first(gather_bytes(layout, context.pool.threads()).size());
  const auto ring = staging.subspan(gather.size());
  StreamReader reader(io, ring, {.slot_bytes = StreamReader::slot_bytes(layout.largest_chunk())});
  for (const WeightPlacement* p : in_file_order) {
    const Bytes row = storage_bytes(p->dtype, p->spec.cols);
    for (Index first = 0; first < p->spec.rows; first += chunk_rows(*p)) {
      const Index rows = std::min(chunk_rows(*p), p->spec.rows - first);
      reader.enqueue(files[static_cast<std::size_t>(p->source->file)], p->source->offset + first * row.count,
                     row * rows);
    }
  }
  Bytes done{};
  for (const WeightPlacement* p : in_file_order) {
    std::byte* to = weights.arena_.bytes().data() + p->offset.count;
    with_context([&] { return fmt::format("tensor '{}'", p->source->name); },
                 [&] {
                   for (Index first = 0; first < p->spec.rows; first += chunk_rows(*p)) {
                     const Index rows = std::min(chunk_rows(*p), p->spec.rows - first);
                     const std::span<const std::byte> chunk = reader.next(stop);
                     if (p->spec.is_matrix) {
                       pack_chunk(context, *p, chunk, first, rows, gather, to);
                     } else {
                       std::vector<float> values(static_cast<std::size_t>(p->spec.cols));
                       dequantize_file_row(p->dtype, p->spec.cols, chunk.data(), values.data());
                       for (Index i = 0; i < p->spec.cols; ++i) {
                         reinterpret_cast<float*>(to)[i] = values[static_cast<std::size_t>(file_row_of(p->spec, i))];
                       }
                     }
                     done += Bytes{static_cast<std::int64_t>(chunk.size())};
                     if (progress) progress(done, layout.file_bytes());
                   }
                 });
  }
  return weights;
}

}  // namespace jericho
