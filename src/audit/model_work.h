// What a model asks of any machine, from its shape and the types of its weights alone: parameters, bytes of weights,
// keys, values and states, and the operations and bytes of every part of a step. Nothing here knows a machine: bounds.h
// puts the two together. Start at decode_ops(). The formulas, with sources: docs/audit.md.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "kernels/kv_tile.h"
#include "kernels/peak_loops.h"
#include "models/config.h"
#include "models/transformer.h"
#include "models/weights.h"
#include "tensor/dtype.h"

namespace jericho {

// Both are somebody else's and outlive whoever holds this.
struct ModelView {
  const ModelConfig& config;
  const WeightLayout& weights;
};

struct ParameterCount {
  Index total = 0;
  double active = 0;    // that one token uses: of experts, those it is routed to; the whole embedding
  Index embedding = 0;  // of a table that is only gathered from; 0 where it is the head too
  Index linear = 0;     // matrices inside layers, of which an adapter or a low-rank optimizer has its own
  Index largest = 0;    // of one matrix
};
ParameterCount count_parameters(const WeightLayout& weights);

struct TypeShare {
  DType dtype{};
  Index parameters = 0;
  Bytes bytes{};
};
// By bytes, the most first.
std::vector<TypeShare> weights_by_type(const WeightLayout& weights);

// As a checkpoint of these types keeps them: of a shape without a file, vectors in the matrices' type where that is a
// float, else in fp32.
Bytes checkpoint_bytes(const WeightLayout& weights);
double bits_per_weight(const WeightLayout& weights);

// Of one sequence of `tokens`, without the padding of pages. A layer with a window needs the window's tokens only.
Bytes kv_bytes(const ModelConfig& config, KvTypes type, Index tokens);
double kv_need(const ModelConfig& config, KvTypes type, double tokens);  // the same for any number, even absurd ones
Bytes state_bytes(const ModelConfig& config, KvTypes type);              // of one sequence, whatever its length
Bytes logit_bytes(const ModelConfig& config, Index rows);

// Keys per channel over `tokens` of a page, codes of `bits`, one scale and one minimum in fp16 per channel (KIVI, Liu
// et al. 2024, arXiv:2402.02750): bytes of one head.
Bytes key_block_bytes(Index tokens, Index head_dim, Index bits);

// The context at which the keys and values of one sequence take as many bytes as all weights, rounded; 0: never.
double crossover_context(Bytes weights, Bytes kv_per_token);

enum class Part { kProjections, kAttention, kFeedForward, kStateSpace, kHead, kNorms };
inline constexpr std::size_t kParts = 6;
std::string_view name(Part part);  // "attention projections", ...

// What all layers together do of one part, in one step.
struct Op {
  Part part{};
  std::array<double, 3> operations{};  // by PeakKind: kInt8, kBF16, kF32
  double weight_bytes = 0;
  double cache_bytes = 0;       // keys, values, states: read and, of states, written
  double activation_bytes = 0;  // in and out, 16 bits each: near the processor as a rule

  [[nodiscard]] double total_operations() const { return operations[0] + operations[1] + operations[2]; }
  [[nodiscard]] double memory_bytes() const { return weight_bytes + cache_bytes; }
  // Operations per byte of all traffic (Williams et al. 2009).
  [[nodiscard]] double intensity() const;
};

// One linear map of M rows by a matrix [n, m] with weights of `weight_bits`, activations of 16.
Op linear_op(double rows, double m, double n, double weight_bits);
// One layer's attention of one new token over T cached ones.
Op attention_decode_op(const ModelConfig& config, KvTypes type, double tokens);

// A step that gives each of `batch` sequences one token, `context` positions deep. Experts: those that some sequence
// meets, E (1 - (1 - k/E)^B) of E when they are drawn evenly.
std::vector<Op> decode_ops(const ModelView& model, KvTypes type, double batch, double context);
// `tokens` of one text read in pieces of `chunk`, the logits of the last one computed.
std::vector<Op> prefill_ops(const ModelView& model, KvTypes type, double tokens, double chunk);

// Sums over parts.
double total_operations(const std::vector<Op>& ops);
double total_bytes(const std::vector<Op>& ops);  // of memory, without activations
double intensity(const std::vector<Op>& ops);    // of memory traffic

}  // namespace jericho
