// The mixes, one function per kind of tensor: see type_mix.h.
#include "convert/type_mix.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include <fmt/format.h>

namespace jericho {

struct MixTable {
  // The numbers are llama_ftype's.
  static constexpr std::array<TypeMix, 22> kMixes = {
      {{"F32", 0, DType::kF32},      {"F16", 1, DType::kF16},      {"BF16", 32, DType::kBF16},
       {"Q4_0", 2, DType::kQ4_0},    {"Q4_1", 3, DType::kQ4_1},    {"Q5_0", 8, DType::kQ5_0},
       {"Q5_1", 9, DType::kQ5_1},    {"Q8_0", 7, DType::kQ8_0},    {"Q2_K", 10, DType::kQ2_K},
       {"Q2_K_S", 21, DType::kQ2_K}, {"Q3_K_S", 11, DType::kQ3_K}, {"Q3_K_M", 12, DType::kQ3_K},
       {"Q3_K_L", 13, DType::kQ3_K}, {"Q4_K_S", 14, DType::kQ4_K}, {"Q4_K_M", 15, DType::kQ4_K},
       {"Q5_K_S", 16, DType::kQ5_K}, {"Q5_K_M", 17, DType::kQ5_K}, {"Q6_K", 18, DType::kQ6_K},
       {"TQ1_0", 36, DType::kTQ1_0}, {"TQ2_0", 37, DType::kTQ2_0}, {"MXFP4", 38, DType::kMXFP4},
       {"Q1_0", 40, DType::kQ1_0}}};
};

namespace {

struct Place {
  Index layer = 0;
  Index layers = 1;
};

Place place_of(std::string_view tensor, const ModelConfig& config) {
  Place place{0, config.num_hidden_layers};
  if (tensor.starts_with("blk.")) std::from_chars(tensor.data() + 4, tensor.data() + tensor.size(), place.layer);
  return place;
}

// The first and last eighth of the layers, and every third between: where fewer bits cost most.
bool deserves_more(Place p) {
  const Index eighth = p.layers / 8;
  return p.layer < eighth || p.layer >= 7 * p.layers / 8 || (p.layer - eighth) % 3 == 2;
}

// What stands in where a row does not divide into blocks of 256.
DType smaller_blocks(DType type) {
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kTQ1_0:
    case DType::kTQ2_0: return DType::kQ4_0;
    case DType::kQ4_K: return DType::kQ5_0;
    case DType::kQ5_K: return DType::kQ5_1;
    case DType::kQ6_K: return DType::kQ8_0;
    default: return DType::kF16;
  }
}

bool divides(DType type, Index cols) { return cols % info(type).block_elements == 0; }

}  // namespace

std::optional<TypeMix> TypeMix::named(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (upper == "Q3_K" || upper == "Q4_K" || upper == "Q5_K") upper += "_M";
  for (const TypeMix& mix : MixTable::kMixes) {
    if (mix.name_ == upper) return mix;
  }
  return std::nullopt;
}

std::string TypeMix::names() {
  std::string all;
  for (const TypeMix& mix : MixTable::kMixes) all += fmt::format("{}{}", all.empty() ? "" : ", ", mix.name_);
  return all;
}

DType TypeMix::type_of(std::string_view tensor, Index cols, const ModelConfig& config) const {
  DType type = wanted(tensor, config);
  if (!divides(type, cols)) type = smaller_blocks(type);
  return divides(type, cols) ? type : DType::kF16;
}

DType TypeMix::wanted(std::string_view tensor, const ModelConfig& config) const {
  const auto has = [&](std::string_view part) { return tensor.find(part) != std::string_view::npos; };
  if (base_ == DType::kF32 || base_ == DType::kF16 || base_ == DType::kBF16) return base_;
  const bool is_embedding = tensor == "token_embd.weight";
  if (tensor == "output.weight" || (is_embedding && config.tie_word_embeddings)) {
    return is("Q8_0") || is("MXFP4") ? DType::kQ8_0 : DType::kQ6_K;
  }
  const bool ternary = base_ == DType::kTQ1_0 || base_ == DType::kTQ2_0;
  if (is_embedding) return ternary ? DType::kQ4_K : is("MXFP4") ? DType::kQ8_0 : base_;
  if (is("MXFP4")) return has("_exps.") ? DType::kMXFP4 : DType::kQ8_0;  // the experts are the file

  const Place place = place_of(tensor, config);
  const bool grouped = config.num_key_value_heads > 0 && config.num_attention_heads / config.num_key_value_heads >= 4;
  const bool eight_experts = config.moe.experts == 8;
  if (has("attn_v.weight")) {
    if (eight_experts) return DType::kQ8_0;  // small beside the experts
    if (is("Q2_K")) return grouped ? DType::kQ4_K : DType::kQ3_K;
    if (is("Q2_K_S") && grouped) return DType::kQ4_K;
    if (is("Q3_K_M")) return place.layer < 2 ? DType::kQ5_K : DType::kQ4_K;
    if (is("Q3_K_L")) return DType::kQ5_K;
    if ((is("Q4_K_M") || is("Q5_K_M")) && deserves_more(place)) return DType::kQ6_K;
    if (is("Q4_K_S") && place.layer < 4) return DType::kQ5_K;
    return base_;
  }
  if (has("attn_k.weight")) return eight_experts ? DType::kQ8_0 : base_;
  if (has("ffn_down")) {
    if (is("Q2_K")) return DType::kQ3_K;
    if (is("Q2_K_S")) return place.layer < place.layers / 8 ? DType::kQ4_K : base_;
    if (is("Q3_K_M")) return place.layer < place.layers / 16 ? DType::kQ5_K : DType::kQ4_K;
    if (is("Q3_K_L")) return DType::kQ5_K;
    if ((is("Q4_K_M") || is("Q5_K_M")) && deserves_more(place)) return DType::kQ6_K;
    if (is("Q4_K_S") && place.layer < place.layers / 8) return DType::kQ5_K;
    return base_;
  }
  if (has("attn_output.weight")) {
    const bool four_bits_at_most = base_ == DType::kQ2_K || base_ == DType::kQ3_K || base_ == DType::kQ4_K;
    if (eight_experts) return four_bits_at_most && !is("Q2_K_S") && !is("Q3_K_L") ? DType::kQ5_K : base_;
    if (is("Q2_K")) return DType::kQ3_K;
    if (is("Q3_K_M")) return DType::kQ4_K;
    if (is("Q3_K_L")) return DType::kQ5_K;
    return base_;
  }
  if (has("attn_qkv.weight")) {
    if (is("Q3_K_M") || is("Q3_K_L")) return DType::kQ4_K;
    if (is("Q4_K_M")) return DType::kQ5_K;
    if (is("Q5_K_M")) return DType::kQ6_K;
  }
  return base_;
}

}  // namespace jericho
