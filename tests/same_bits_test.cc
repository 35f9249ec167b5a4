// The same request gives the same bits (docs/numerics.md): whole models on random weights, for every weight format and
// every type of KV page, whatever the threads, the chunks of the prompt, the company in the batch, the size of the KV
// pool and the CPU path. The last tests are negative controls: a comparison that cannot fail shows nothing.
#include <array>
#include <atomic>
#include <cmath>
#include <string>
#include <tuple>

#include <gtest/gtest.h>

#include "kernels/bit_equal.h"
#include "kernels/matmul_cases.h"
#include "support/sha256.h"
#include "support/whole_model.h"

namespace jericho {
namespace {

constexpr Index kPrompt = 200;      // over three blocks of 64 positions and into a fourth
constexpr Index kShortPrompt = 80;  // for the scalar path, which is slow: into the second block

enum class Company { kAlone, kAmongSeven };

struct Circumstances {  // that must not matter
  Index chunk = 512;
  KvTypes kv_type{};
  Company company = Company::kAlone;
  Index context = 256;
  KvBacking backing = KvBacking::kPopulate;
};

// The logits of every token of `prompt`, [tokens, vocab_size].
std::vector<float> logits_under(const Context& context, const WholeModel& model, std::span<const TokenId> prompt,
                                const Circumstances& how) {
  const Index sequences = how.company == Company::kAlone ? 1 : 8;
  Session session(context, *model.model,
                  model.plan(context, {.context = how.context,
                                       .sequences = sequences,
                                       .kv_type = how.kv_type,
                                       .chunk = how.chunk * sequences,
                                       .all_logits = true}),
                  how.backing);
  if (how.company == Company::kAlone) return logits_of(session, session.open(), prompt);

  // Seven others of different lengths, some further on, some of which end early; ours is in their midst.
  constexpr SequenceId kOurs = 3;
  constexpr std::array<Index, 8> kLengths = {20, 45, 12, 0, 30, 110, 9, 60};
  std::vector<std::vector<TokenId>> texts;
  for (Index s = 0; s < sequences; ++s) {
    static_cast<void>(session.open());
    texts.push_back(random_tokens(kLengths[static_cast<std::size_t>(s)], model.config().vocab_size,
                                  static_cast<unsigned>(100 + s)));
  }
  texts[kOurs].assign(prompt.begin(), prompt.end());
  const std::array ahead = {BatchItem{5, std::span(texts[5]).first(19), LogitRows::kNone},
                            BatchItem{1, std::span(texts[1]).first(6), LogitRows::kNone}};
  session.forward(ahead);
  std::vector<float> ours;
  while (session.length(kOurs) < static_cast<Index>(prompt.size())) {
    std::vector<BatchItem> items;
    std::size_t rows_before = 0, rows_of_ours = 0;
    for (SequenceId s = 0; s < static_cast<SequenceId>(sequences); ++s) {
      const std::span<const TokenId> rest =
          std::span(texts[static_cast<std::size_t>(s)]).subspan(static_cast<std::size_t>(session.length(s)));
      if (rest.empty()) continue;
      items.push_back({s, rest.first(std::min(rest.size(), static_cast<std::size_t>(how.chunk))), LogitRows::kAll});
      if (s < kOurs) rows_before += items.back().tokens.size();
      if (s == kOurs) rows_of_ours = items.back().tokens.size();
    }
    const MatrixView<const float> logits = session.forward(items);
    const MatrixView<const float> rows = logits.rows(static_cast<Index>(rows_before), static_cast<Index>(rows_of_ours));
    ours.insert(ours.end(), rows.data(), rows.data() + rows.extent(0) * rows.extent(1));
  }
  return ours;
}

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

using ModelCase = std::tuple<DType, KvType>;

std::string model_case_name(const testing::TestParamInfo<ModelCase>& test) {
  return std::string(name(std::get<0>(test.param))) + "_" + std::string(name(std::get<1>(test.param)));
}

class SameBits : public testing::TestWithParam<ModelCase> {
 protected:
  // Shapes alternate, so that every format and every page type meets windows, norms of heads and biases.
  static ModelConfig config() {
    const auto [dtype, kv] = GetParam();
    return (static_cast<int>(dtype) + static_cast<int>(kv)) % 2 == 0 ? small_config() : rich_config();
  }
  static DType dtype() { return std::get<0>(GetParam()); }
  static KvType kv() { return std::get<1>(GetParam()); }

  TestMachine machine_{1};
  WholeModel model_ = WholeModel::random(machine_.context, config(), dtype());
  std::vector<TokenId> prompt_ = random_tokens(kPrompt, config().vocab_size, 7);
  std::vector<float> reference_ = logits_under(machine_.context, model_, prompt_, {.kv_type = kv()});
};

TEST_P(SameBits, ForAnyThreadsChunksCompanyAndPool) {
  ASSERT_TRUE(all_finite(reference_));
  ASSERT_EQ(reference_.size(), static_cast<std::size_t>(kPrompt * config().vocab_size));
  const TestMachine two(2), four(4);
  const auto expect_same = [&](const TestMachine& machine, Circumstances how, const char* what) {
    how.kv_type = kv();
    EXPECT_THAT(logits_under(machine.context, model_, prompt_, how), BitEqual(reference_)) << what;
  };
  expect_same(two, {}, "2 threads");
  expect_same(four, {.chunk = 64}, "4 threads, chunks of 64");
  expect_same(machine_, {.chunk = 1}, "token by token");
  expect_same(two, {.chunk = 7}, "2 threads, chunks of 7");
  expect_same(machine_, {.context = 1000, .backing = KvBacking::kOnDemand}, "a larger pool, backed on demand");
  expect_same(two, {.chunk = 512, .company = Company::kAmongSeven}, "among seven others");
  expect_same(machine_, {.chunk = 7, .company = Company::kAmongSeven, .context = 300}, "among seven, chunks of 7");
}

TEST_P(SameBits, OnEveryCpuPath) {
  ASSERT_TRUE(all_finite(reference_));
  for (const CpuPath path : usable_cpu_paths()) {
    const TestMachine other(2, path);
    const std::span prompt(prompt_.data(), static_cast<std::size_t>(path == CpuPath::kScalar ? kShortPrompt : kPrompt));
    const std::span expected(reference_.data(), prompt.size() * static_cast<std::size_t>(config().vocab_size));
    EXPECT_THAT(logits_under(other.context, model_, prompt, {.chunk = 64, .kv_type = kv()}), BitEqual(expected))
        << name(path);
  }
}

INSTANTIATE_TEST_SUITE_P(, SameBits, testing::Combine(testing::ValuesIn(kPackableTypes), testing::ValuesIn(kKvTypes)),
                         model_case_name);

class SameBitsOfOddSizes : public testing::TestWithParam<ModelCase> {};

TEST_P(SameBitsOfOddSizes, ForAnyPathThreadsChunksAndCompany) {
  const auto [dtype, kv] = GetParam();
  const TestMachine machine(1);
  const WholeModel model = WholeModel::random(machine.context, odd_config(), dtype);
  const std::vector<TokenId> prompt = random_tokens(kShortPrompt, odd_config().vocab_size, 9);
  const std::vector<float> reference = logits_under(machine.context, model, prompt, {.kv_type = kv});
  ASSERT_TRUE(all_finite(reference));
  for (const CpuPath path : usable_cpu_paths()) {
    const TestMachine other(2, path);
    const Circumstances how = {.chunk = path == CpuPath::kScalar ? 64 : 1, .kv_type = kv};
    EXPECT_THAT(logits_under(other.context, model, prompt, how), BitEqual(reference)) << name(path);
  }
  const TestMachine two(2);
  const Circumstances crowd = {.chunk = 7, .kv_type = kv, .company = Company::kAmongSeven};
  EXPECT_THAT(logits_under(two.context, model, prompt, crowd), BitEqual(reference)) << "among seven, chunks of 7";
}

INSTANTIATE_TEST_SUITE_P(, SameBitsOfOddSizes,
                         testing::Combine(testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                                          testing::ValuesIn(kKvTypes)),
                         model_case_name);

TEST(SameBitsOfTwoTypes, KeysInEightBitsBesideValuesInFourGiveTheSameBits) {
  const TestMachine machine(1), two(2);
  const WholeModel model = WholeModel::random(machine.context, rich_config(), DType::kQ8_0);
  const std::vector<TokenId> prompt = random_tokens(kPrompt, rich_config().vocab_size, 9);
  const KvTypes types = {KvType::kQ8, KvType::kQ4};
  const std::vector<float> reference = logits_under(machine.context, model, prompt, {.kv_type = types});
  ASSERT_TRUE(all_finite(reference));
  EXPECT_THAT(logits_under(two.context, model, prompt, {.chunk = 7, .kv_type = types}), BitEqual(reference));
  const Circumstances crowd = {.chunk = 5, .kv_type = types, .company = Company::kAmongSeven};
  EXPECT_THAT(logits_under(two.context, model, prompt, crowd), BitEqual(reference));
  for (const KvType one : {KvType::kQ8, KvType::kQ4})
    EXPECT_NE(logits_under(machine.context, model, prompt, {.kv_type = one}), reference) << name(one);
}

TEST(SameBitsOfTwoTypes, KeysPerChannelGiveTheSameBits) {
  const TestMachine machine(1), two(2);
  for (ModelConfig (*config)() : {rich_config, odd_config, capped_config, hybrid_config}) {
    const WholeModel model = WholeModel::random(machine.context, config(), DType::kBF16);
    SCOPED_TRACE(model.config().architecture);
    const std::vector<TokenId> prompt = random_tokens(kPrompt, model.config().vocab_size, 9);
    const KvTypes types = {KvType::kQ4C, KvType::kQ8};
    const std::vector<float> reference = logits_under(machine.context, model, prompt, {.kv_type = types});
    ASSERT_TRUE(all_finite(reference));
    for (const CpuPath path : usable_cpu_paths()) {
      if (path == CpuPath::kScalar) continue;  // slow: kernels and engine tests hold it to the same bits
      const TestMachine other(2, path);
      const Circumstances how = {.chunk = 7, .kv_type = types};
      EXPECT_THAT(logits_under(other.context, model, prompt, how), BitEqual(reference)) << name(path);
    }
    const Circumstances crowd = {.chunk = 5, .kv_type = types, .company = Company::kAmongSeven};
    EXPECT_THAT(logits_under(two.context, model, prompt, crowd), BitEqual(reference)) << "among seven, chunks of 5";
    EXPECT_NE(logits_under(machine.context, model, prompt, {.kv_type = {KvType::kF16, KvType::kQ8}}), reference);
  }
}

// Blocks that only some families have.
struct BlockCase {
  const char* name;
  ModelConfig (*config)();
  DType dtype;
  KvType kv = KvType::kF16;
};
void PrintTo(const BlockCase& c, std::ostream* out) { *out << c.name << " " << name(c.dtype) << " " << name(c.kv); }

class SameBitsOfBlocks : public testing::TestWithParam<BlockCase> {};

TEST_P(SameBitsOfBlocks, ForAnyPathThreadsChunksAndCompany) {
  const TestMachine machine(1), two(2), four(4);
  const WholeModel model = WholeModel::random(machine.context, GetParam().config(), GetParam().dtype);
  const std::vector<TokenId> prompt = random_tokens(kPrompt, model.config().vocab_size, 7);
  const std::vector<float> reference = logits_under(machine.context, model, prompt, {.kv_type = GetParam().kv});
  ASSERT_TRUE(all_finite(reference));
  const auto expect_same = [&](const TestMachine& with, Circumstances how, const char* what) {
    how.kv_type = GetParam().kv;
    EXPECT_THAT(logits_under(with.context, model, prompt, how), BitEqual(reference)) << what;
  };
  expect_same(machine, {.chunk = 1}, "token by token");
  expect_same(two, {.chunk = 7}, "2 threads, chunks of 7");
  expect_same(four, {.chunk = 64}, "4 threads, chunks of 64");
  expect_same(two, {.chunk = 512, .company = Company::kAmongSeven}, "among seven others");
  expect_same(machine, {.chunk = 7, .company = Company::kAmongSeven, .context = 300}, "among seven, chunks of 7");
  for (const CpuPath path : usable_cpu_paths()) {
    const TestMachine other(2, path);
    const std::span shorter(prompt.data(), static_cast<std::size_t>(kShortPrompt));
    EXPECT_THAT(
        logits_under(other.context, model, shorter, {.chunk = 64, .kv_type = GetParam().kv}),
        BitEqual(std::span(reference).first(shorter.size() * static_cast<std::size_t>(model.config().vocab_size))))
        << name(path);
  }
}

INSTANTIATE_TEST_SUITE_P(, SameBitsOfBlocks,
                         testing::Values(BlockCase{"experts", experts_config, DType::kF32},
                                         BlockCase{"experts", experts_config, DType::kBF16},
                                         BlockCase{"experts", experts_config, DType::kQ4_0},
                                         BlockCase{"experts", experts_config, DType::kQ6_K},
                                         BlockCase{"capped", capped_config, DType::kF16, KvType::kF32},
                                         BlockCase{"capped", capped_config, DType::kQ8_0, KvType::kF16},
                                         BlockCase{"capped", capped_config, DType::kBF16, KvType::kBF16},
                                         BlockCase{"capped", capped_config, DType::kQ4_K, KvType::kQ8},
                                         BlockCase{"latent", latent_config, DType::kF32, KvType::kF32},
                                         BlockCase{"latent", latent_config, DType::kQ8_0, KvType::kF16},
                                         BlockCase{"latent", latent_config, DType::kBF16, KvType::kBF16},
                                         BlockCase{"latent", latent_config, DType::kQ4_0, KvType::kQ8}),
                         [](const auto& test) {
                           return std::string(test.param.name) + "_" + std::string(name(test.param.dtype)) + "_" +
                                  std::string(name(test.param.kv));
                         });

// The kernels of `path`, of which attention_values() counts how often it runs: once or more for a token whose
// positions several threads share.
std::atomic<int> split_values = 0;
Kernels counting_kernels(CpuPath path) {
  static const Kernels* counted = nullptr;
  counted = &kernels_for(path);
  Kernels kernels = *counted;
  kernels.attention_values = [](const KvHead& kv, const QueryTokens& token, StepRange columns,
                                const AttentionSteps& steps, MatrixView<float> out) {
    ++split_values;
    counted->attention_values(kv, token, columns, steps, out);
  };
  return kernels;
}

class SameBitsOfFewHeads : public testing::TestWithParam<BlockCase> {};

// More threads than query heads: a token's positions are shared out where the plan leaves room, and tokens are the
// same.
TEST_P(SameBitsOfFewHeads, ForAnyThreadsAndRoomAtAnyDepth) {
  constexpr Index kDeep = 900, kSteps = 12;
  constexpr int kThreads = 27;
  const TestMachine machine(1), many(kThreads);
  const Kernels counting = counting_kernels(chosen_cpu_path());
  const Context crowd = {many.context.ledger, many.context.pool, counting};
  const WholeModel model = WholeModel::random(machine.context, GetParam().config(), GetParam().dtype);
  const std::vector<TokenId> prompt = random_tokens(kDeep, model.config().vocab_size, 9);
  const auto continued = [&](const Context& context, KvType type, Index chunk) {
    Session session(context, *model.model,
                    model.plan(context, {.context = kDeep + kSteps, .kv_type = type, .chunk = chunk}),
                    KvBacking::kPopulate);
    const SequenceId sequence = session.open();
    std::span<const float> row = session.prefill(sequence, prompt);
    std::vector<float> all(row.begin(), row.end());
    std::vector<TokenId> tokens;
    for (Index step = 0; step < kSteps; ++step) {
      tokens.push_back(static_cast<TokenId>(argmax(row)));
      row = session.prefill(sequence, std::span(tokens).last(1));
      all.insert(all.end(), row.begin(), row.end());
    }
    return std::pair(tokens, all);
  };
  for (const KvType type : kKvTypes) {
    split_values = 0;
    const auto [tokens, logits] = continued(machine.context, type, 256);
    ASSERT_TRUE(all_finite(logits));
    ASSERT_EQ(split_values, 0) << "one thread shares with nobody";
    for (const Index chunk : {1, 256}) {
      split_values = 0;
      const auto [others, other_logits] = continued(crowd, type, chunk);
      EXPECT_EQ(others, tokens) << name(type) << " chunk " << chunk;
      EXPECT_THAT(other_logits, BitEqual(logits)) << name(type) << " chunk " << chunk;
      // A step of one token has no room for the logits of all positions where prompts are read token by token; values
      // in codes are shared only by more threads.
      const bool codes = type == KvType::kQ8 || type == KvType::kQ4;
      if (chunk > 1 && (!codes || 4 * model.config().num_attention_heads <= kThreads)) {
        EXPECT_GE(split_values, kSteps * model.config().num_hidden_layers) << name(type);
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(, SameBitsOfFewHeads,
                         testing::Values(BlockCase{"odd", odd_config, DType::kQ8_0},
                                         BlockCase{"latent", latent_config, DType::kQ8_0}),
                         [](const auto& test) { return std::string(test.param.name); });

// Of logits in every weight format: what any compiler and any processor must give. It changes only with a definition;
// formats that are new get a list and digests of their own.
constexpr std::array kFirstTypes = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                                    DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K};
constexpr std::array kMoreTypes = {DType::kQ2_K,  DType::kQ3_K,  DType::kQ5_K,  DType::kIQ4_NL, DType::kIQ4_XS,
                                   DType::kTQ1_0, DType::kTQ2_0, DType::kMXFP4, DType::kQ1_0};
constexpr std::array kOwnTypes = {DType::kTQ2F, DType::kQZ4, DType::kQZ4B, DType::kQZ8, DType::kNF4, DType::kFP8};
constexpr std::array kLongDotTypes = {DType::kQZ4_128, DType::kQZ4B_128, DType::kQC8};
static_assert(kFirstTypes.size() + kMoreTypes.size() + kOwnTypes.size() + kLongDotTypes.size() ==
              kPackableTypes.size());

struct PinnedBits {
  KvType kv;
  const char* first;  // SHA-256 of the logits of kFirstTypes, of kMoreTypes, of kOwnTypes, of kLongDotTypes
  const char* more;
  const char* own;
  const char* long_dots;
};
class SameBitsEverywhere : public testing::TestWithParam<PinnedBits> {
 protected:
  static std::string digest_of(std::span<const DType> types) {
    const TestMachine machine(2);
    const std::vector<TokenId> prompt = random_tokens(kShortPrompt, rich_config().vocab_size, 11);
    Sha256 digest;
    for (const DType dtype : types) {
      const WholeModel model = WholeModel::random(machine.context, rich_config(), dtype);
      const std::vector<float> logits = logits_under(machine.context, model, prompt, {.kv_type = GetParam().kv});
      digest.update(std::as_bytes(std::span(logits)));
    }
    return digest.hex_digest();
  }
};

TEST_P(SameBitsEverywhere, ForAnyCompilerAndProcessor) {
  EXPECT_EQ(digest_of(kFirstTypes), GetParam().first);
  EXPECT_EQ(digest_of(kMoreTypes), GetParam().more);
  EXPECT_EQ(digest_of(kOwnTypes), GetParam().own);
  EXPECT_EQ(digest_of(kLongDotTypes), GetParam().long_dots);
}

INSTANTIATE_TEST_SUITE_P(
    , SameBitsEverywhere,
    testing::Values(PinnedBits{KvType::kF32, "f1f5077cc4d97cac962dbc87017d6ce49a7b6f1b84de4190d8491e373eefbe6d",
                               "771246cae81350b1c197da66a136c77f6b23be2d44da9826a4a688e402160baf",
                               "a48cd71f08ae225ebbde74ecc90638341c1e9e0cb66bcc2e9c70fda16c1ab6eb",
                               "48cacad1ce378316d636e4a85c5fa333ddfe4ff059a43668cfc7e983d3b00d3d"},
                    PinnedBits{KvType::kF16, "9063fdb350620542a30371528216c4807576e76adb27832ca69e3aee5c1da060",
                               "4f0e258c13b6f342b94050e6a32271779b1b7a8fcbd02c57fefe7b81df6e730c",
                               "4c3afe7d26103daaa453b2c5555e10db567ef99feafa26e09f0b6fb5b6e42c0a",
                               "62ffb9318ce44e90d828367a46594a8715027fc09047778bbf3e5e21b13a9e34"},
                    PinnedBits{KvType::kBF16, "516d26bb0c121fb5024735c3a3c7d107590b7623544faad7b7e8951651e6716a",
                               "a2e60ebb6784cde7b96faaac00aca24476e2775bebebd4ae4b566dce60015787",
                               "8984a452f5b4e20a815cf08e1bee127de284b47deba738a8de25489bdfb84bc8",
                               "14fa97f42efe62e5c32d91acd78319d8c2679526c405453d36edb63bc383fe4f"},
                    PinnedBits{KvType::kQ8, "e30e08b6e1c950400b14e175024834b528382337a530754b55a1a47be215eba8",
                               "22f8586b07e539af31cb8a3097657b729451b7aa0248855441e30cf1491c078c",
                               "ea87fa2671d36e60b680e2ae1aea8689fdc82c908c7902ca3b5893cc35add282",
                               "aa6918223a3a2071f384de741ce209dc6386a70fb9aaf9d2d423d11667350e15"},
                    PinnedBits{KvType::kQ4, "9d18748206ed4d2ef25bcae36ea1abbe7b506e62bb925d121a094b8d92b79025",
                               "4cd9e06fce4b75daed0f56896588a39c375680c5eb0da139621f3f9325c2b1e4",
                               "13a25f2c6677fbaab802f91b8bc8c953402b7331bfe677ebdf5c9efc401eb892",
                               "e08778501ff859597ed45071b95d041dc53f9d150119073bef25afabaae7b528"}),
    [](const auto& test) { return std::string(name(test.param.kv)); });

// State spaces, alone and beside attention; the inputs of their convolutions are kept in f16 or f32.
class SameBitsOfStateSpaces : public testing::TestWithParam<ModelCase> {};

TEST_P(SameBitsOfStateSpaces, ForAnyPathThreadsChunksAndCompany) {
  const auto [dtype, kv] = GetParam();
  for (const ModelConfig& config : {mamba_config(), hybrid_config()}) {
    SCOPED_TRACE(config.architecture);
    const TestMachine machine(1), two(2);
    const WholeModel model = WholeModel::random(machine.context, config, dtype);
    const std::vector<TokenId> prompt = random_tokens(kShortPrompt, config.vocab_size, 13);
    const std::vector<float> reference = logits_under(machine.context, model, prompt, {.kv_type = kv});
    ASSERT_TRUE(all_finite(reference));
    for (const CpuPath path : usable_cpu_paths()) {
      const TestMachine other(2, path);
      const Circumstances how = {.chunk = path == CpuPath::kScalar ? 64 : 1, .kv_type = kv};
      EXPECT_THAT(logits_under(other.context, model, prompt, how), BitEqual(reference)) << name(path);
    }
    for (const Index chunk : {2, 3, 7, 64}) {
      const Circumstances how = {.chunk = chunk, .kv_type = kv, .context = 300, .backing = KvBacking::kOnDemand};
      EXPECT_THAT(logits_under(two.context, model, prompt, how), BitEqual(reference)) << "chunks of " << chunk;
    }
    for (const Index chunk : {7, 512}) {
      const Circumstances crowd = {.chunk = chunk, .kv_type = kv, .company = Company::kAmongSeven};
      EXPECT_THAT(logits_under(two.context, model, prompt, crowd), BitEqual(reference)) << "among seven, " << chunk;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, SameBitsOfStateSpaces,
                         testing::Combine(testing::Values(DType::kF32, DType::kBF16, DType::kQ8_0),
                                          testing::ValuesIn(kKvTypes)),
                         model_case_name);

class SameBitsControl : public testing::Test {
 protected:
  TestMachine machine_{1};
  WholeModel model_ = WholeModel::random(machine_.context, small_config(), DType::kQ8_0);
  std::vector<TokenId> prompt_ = random_tokens(kShortPrompt, small_config().vocab_size, 7);
  std::vector<float> reference_ = logits_under(machine_.context, model_, prompt_, {});
  [[nodiscard]] std::span<const float> last(const std::vector<float>& logits) const {
    return std::span(logits).last(static_cast<std::size_t>(small_config().vocab_size));
  }
};

TEST_F(SameBitsControl, FailsWhenTwoTokensChangePlaces) {
  ASSERT_NE(prompt_[10], prompt_[11]);
  std::swap(prompt_[10], prompt_[11]);
  EXPECT_GE(first_difference(last(logits_under(machine_.context, model_, prompt_, {})), last(reference_)), 0);
}

TEST_F(SameBitsControl, FailsWhenAWindowForgetsTheFirstToken) {
  ModelConfig config = small_config();
  config.layers[1].window = kShortPrompt - 1;
  const WholeModel windowed = WholeModel::random(machine_.context, config, DType::kQ8_0);
  const std::vector<float> logits = logits_under(machine_.context, windowed, prompt_, {});
  const auto before = logits.size() - static_cast<std::size_t>(config.vocab_size);
  EXPECT_GE(first_difference(last(logits), last(reference_)), 0);
  EXPECT_THAT(std::span(logits).first(before), BitEqual(std::span(reference_).first(before)));
}

// RMSNorm with its squares summed in index order instead of 16 lanes: right to the last digit but one.
void rms_norm_in_index_order(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y) {
  for (Index t = 0; t < x.extent(0); ++t) {
    float sum = 0;
    for (Index c = 0; c < x.extent(1); ++c) sum = std::fma(x(t, c), x(t, c), sum);
    const float scale = 1.0f / std::sqrt(sum / static_cast<float>(x.extent(1)) + eps);
    for (Index c = 0; c < x.extent(1); ++c) y(t, c) = x(t, c) * scale * weight[static_cast<std::size_t>(c)];
  }
}

TEST_F(SameBitsControl, FailsWhenOneSumHasAnotherOrder) {
  Kernels other = kernels_for(chosen_cpu_path());
  other.rms_norm = rms_norm_in_index_order;
  const TestMachine reordered(1, other);
  EXPECT_GE(first_difference(logits_under(reordered.context, model_, prompt_, {}), reference_), 0);
}

}  // namespace
}  // namespace jericho
