// Shards give the tokens that were put into them, as documents, and say what is wrong with a file that is none.
#include "train/token_shard.h"

#include <fstream>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/test_data.h"
#include "kernels/kernels.h"
#include "memory/temp_folder.h"
#include "text/load_tokenizer.h"
#include "train/data.h"

namespace jericho {
namespace {

using testing::HasSubstr;

class TokenShardTest : public testing::Test {
 protected:
  template <class Token>
  std::string write(const std::vector<std::int32_t>& ids, std::int32_t magic, std::int32_t version,
                    std::optional<std::int32_t> count = {}) {
    std::vector<std::int32_t> header(256);
    header[0] = magic;
    header[1] = version;
    header[2] = count.value_or(static_cast<std::int32_t>(ids.size()));
    const std::vector<Token> tokens(ids.begin(), ids.end());
    std::ofstream out(folder_.path() / "tokens.bin", std::ios::binary);
    out.write(reinterpret_cast<const char*>(header.data()), 1024);
    out.write(reinterpret_cast<const char*>(tokens.data()),
              static_cast<std::streamsize>(tokens.size() * sizeof(Token)));
    return (folder_.path() / "tokens.bin").string();
  }
  std::string narrow(const std::vector<std::int32_t>& ids) { return write<std::uint16_t>(ids, 20240520, 1); }
  TokenStore store(const std::vector<std::string>& files) {
    return TokenStore::read(context_, files, {}, 1000, *tokenizer_, {}, {});
  }
  std::string refusal(const std::vector<std::string>& files) {
    try {
      store(files);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  }

  TempFolder folder_;
  Ledger ledger_{LedgerCaps{.ram = 1_GiB}};
  ThreadPool pool_{2};
  Context context_{ledger_, pool_, kernels_for(chosen_cpu_path())};
  std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer_directory(test_source("text/testdata/byte-level"));
};

TEST_F(TokenShardTest, GivesItsTokensInEitherWidth) {
  const std::vector<std::int32_t> ids = {7, 0, 250, 3, 9};
  for (const bool wide : {false, true}) {
    const TokenShard shard(wide ? write<std::uint32_t>(ids, 20240801, 7) : narrow(ids));
    ASSERT_EQ(shard.tokens(), 5);
    std::vector<std::int32_t> out(3);
    shard.read(2, out);
    EXPECT_EQ(out, (std::vector<std::int32_t>{250, 3, 9}));
  }
}

TEST_F(TokenShardTest, IsReadAsTheTextItCameFrom) {
  std::ofstream(folder_.path() / "text.txt") << "the cat sat\n<|endoftext|>\na bird sang\n<|endoftext|>\nthe end";
  const TokenStore texts = store({(folder_.path() / "text.txt").string()});
  std::vector<std::int32_t> ids(static_cast<std::size_t>(texts.tokens()));
  texts.read(0, ids);
  const std::string bin = narrow(ids);
  const std::vector<std::uint64_t> starts = {0, static_cast<std::uint64_t>(texts.start(1)),
                                             static_cast<std::uint64_t>(texts.start(2))};
  std::ofstream(folder_.path() / "tokens.docs", std::ios::binary)
      .write(reinterpret_cast<const char*>(starts.data()), 24);
  const TokenStore shard = store({bin}), both = store({bin, (folder_.path() / "text.txt").string()});
  EXPECT_EQ(shard.trained_tokens(), texts.trained_tokens());
  EXPECT_EQ(both.documents(), 6);
  for (const DataMode mode : {DataMode::kDocuments, DataMode::kStream}) {
    SequenceSampler of_texts(texts, mode, true, 8, 1), of_shard(shard, mode, true, 8, 1),
        of_both(both, mode, true, 8, 1);
    SampleRows a, b, c;
    for (Index i = 0; i < of_texts.epoch_sequences(0); ++i) of_texts.append(0, i, a), of_shard.append(0, i, b);
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.targets, b.targets);
    for (Index i = 0; i < of_both.epoch_sequences(0); ++i) of_both.append(0, i, c);
    if (mode == DataMode::kDocuments) {
      EXPECT_EQ(c.trained, 2 * a.trained);
    }
  }
}

TEST_F(TokenShardTest, EndsItsDocumentsWithTheEndWhereNoListSaysMore) {
  ASSERT_TRUE(tokenizer_->eos());
  const TokenStore shard = store({narrow({5, 6, *tokenizer_->eos(), 7, 8, 9, *tokenizer_->eos()})});
  ASSERT_EQ(shard.documents(), 2);
  EXPECT_EQ(shard.start(1), 3);
  EXPECT_EQ(shard.trained_tokens(), 5);
}

TEST_F(TokenShardTest, SaysWhatIsWrongWithIt) {
  EXPECT_THAT(refusal({write<std::uint16_t>({1, 2}, 20240520, 1, 9)}), HasSubstr("its header says 9 tokens of 2 B"));
  EXPECT_THAT(refusal({write<std::uint16_t>({1, 2}, 1, 1)}), HasSubstr("expected a shard of tokens"));
  EXPECT_THAT(refusal({narrow({1, 60000, 2})}), HasSubstr("token 1 is 60000, the tokenizer has"));
  std::ofstream(folder_.path() / "short.bin") << "x";
  EXPECT_THAT(refusal({(folder_.path() / "short.bin").string()}), HasSubstr("found 1 B"));
  const std::string bin = narrow({1, 2, 3});
  std::ofstream(folder_.path() / "tokens.docs", std::ios::binary) << std::string(16, '\0');
  EXPECT_THAT(refusal({bin}), HasSubstr("tokens.docs: expected where documents begin"));
}

}  // namespace
}  // namespace jericho
