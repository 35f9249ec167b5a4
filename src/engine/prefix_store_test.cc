// A store of prefixes gives back what was put in, byte for byte, or nothing: over restarts, sudden ends, faults, damage
// and other models and tenants.
#include "engine/prefix_store.h"

#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/session.h"
#include "engine/stored_prefixes.h"
#include "kernels/bit_equal.h"
#include "memory/temp_folder.h"
#include "models/test_models.h"

namespace jericho {
namespace {

using testing::HasSubstr;

std::string hex(const Sha256& hash) {
  std::string text;
  for (const std::byte b : hash) text += fmt::format("{:02x}", static_cast<unsigned>(b));
  return text;
}

Sha256 all(unsigned char byte) {
  Sha256 hash;
  hash.fill(std::byte{byte});
  return hash;
}

TEST(PrefixKey, HasTheBytesOfTheChain) {
  const std::vector<std::int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto chain = [&](std::string_view tenant) {
    const Sha256 h0 = root_key({.model = all(0x11), .kv = all(0x22), .adapter = {}, .tenant = tenant});
    const Sha256 h1 = block_key(h0, std::span(tokens).first(4));
    return std::vector<std::string>{hex(h0), hex(h1), hex(block_key(h1, std::span(tokens).last(4)))};
  };
  EXPECT_THAT(chain(""), testing::ElementsAre("e34a5b1d22cb1a0352e549fc02540fb4fecbcd794af5f7e3fd16d6f4e0d760cf",
                                              "d032f193756104c9bd6237aff938d59ce83c2058d4d7119eb69146976647e8c3",
                                              "a57a3890bfc041b8ec42d34552bdcf4c5257484a3265ec576229cea41b885517"));
  EXPECT_THAT(chain("tenant-a"),
              testing::ElementsAre("769287b3381c0f8fc1f59a9720264083fcb77132dd61ebcd1b343dc75ee6ce37",
                                   "1c012dba491bea6dfe7bd82c8b9fbe70f3d7e98ff64576f5319f634012701a46",
                                   "c36a795a4741a163c902e13e1fb1e99c4114ae8f06af4a4682dd3a8cecbb6d34"));
}

TEST(PrefixKey, TellsFormsOfTheCacheApart) {
  const KvLayout layout{KvType::kF16, 2, 2, 32};
  KvLayout other = layout;
  other.type = KvType::kBF16;
  EXPECT_EQ(kv_fingerprint(layout, false), kv_fingerprint(layout, false));
  EXPECT_NE(kv_fingerprint(layout, false), kv_fingerprint(other, false));
  EXPECT_NE(kv_fingerprint(layout, false), kv_fingerprint(layout, true));
}

constexpr Bytes kPayload = 8_KiB;

class PrefixStoreTest : public testing::Test {
 protected:
  static PrefixShape shape(Index segments = 16) { return {.payload = kPayload, .records = 8, .segments = segments}; }
  std::unique_ptr<PrefixStore> open(IoScript script = {}, Index segments = 16, const Sha256& fingerprint = all(1)) {
    std::unique_ptr<IoBackend> io = make_io_backend();
    if (!script.faults.empty()) io = make_scripted_backend(std::move(io), std::move(script));
    const PrefixStoreOptions options = {folder_.path() / "store", shape(segments), fingerprint};
    Arena buffer(ledger_.require(Tier::kRam, Purpose::kKvPrefix, arena_bytes(options.shape.record_bytes())));
    return std::make_unique<PrefixStore>(options, std::move(buffer),
                                         ledger_.require(Tier::kDisk, Purpose::kKvPrefix, options.shape.disk_bytes()),
                                         std::move(io));
  }
  // Record n: everything about it follows from the number.
  static std::vector<std::int32_t> tokens(std::uint32_t n) {
    std::vector<std::int32_t> ids(kPageTokens);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(n * 100 + i);
    return ids;
  }
  static Sha256 parent(std::uint32_t n) { return block_key(all(7), tokens(n + 1)); }
  static Sha256 key(std::uint32_t n) { return block_key(parent(n), tokens(n)); }
  static std::vector<std::byte> payload(std::uint32_t n) {
    std::mt19937 random(n);
    std::vector<std::byte> bytes(kPayload.size());
    for (std::byte& b : bytes) b = static_cast<std::byte>(random() & 255);
    return bytes;
  }
  static void append(PrefixStore& store, std::uint32_t n) { store.append(key(n), parent(n), tokens(n), payload(n)); }
  // Whether it is there; when it is, it must be right.
  static bool has(PrefixStore& store, std::uint32_t n) {
    std::vector<std::byte> bytes(kPayload.size());
    if (!store.read(key(n), parent(n), tokens(n), bytes)) return false;
    EXPECT_EQ(bytes, payload(n)) << "record " << n;
    return true;
  }
  static Index count(PrefixStore& store, std::uint32_t below) {
    Index found = 0;
    for (std::uint32_t n = 0; n < below; ++n) found += has(store, n);
    return found;
  }
  [[nodiscard]] std::vector<std::filesystem::path> files(const std::string& prefix) const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
    }
    return found;
  }
  static void flip(const std::filesystem::path& path, std::int64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 16));
  }

  TempFolder folder_;
  Ledger ledger_{{.ram = 16_MiB, .disk = 64_MiB}};
};

TEST_F(PrefixStoreTest, KeepsWhatIsAddedAfterAnEarlierSegmentWasDamaged) {
  {
    const auto store = open();
    for (std::uint32_t n = 0; n < 16; ++n) append(*store, n);  // two full segments
    store->sync();
  }
  flip(files("seg-1.kv").front(), 3 * (kPayload.count + 4096) + 40);  // header of its fourth record
  {
    const auto store = open();
    EXPECT_EQ(count(*store, 16), 3 + 8);
    append(*store, 20);
    store->sync();
    EXPECT_TRUE(has(*store, 20));
  }
  EXPECT_TRUE(has(*open(), 20)) << "it was durable";
}

TEST_F(PrefixStoreTest, KeepsRecordsFromOneProcessToTheNext) {
  {
    const auto store = open();
    EXPECT_FALSE(has(*store, 0));
    for (std::uint32_t n = 0; n < 20; ++n) append(*store, n);
    EXPECT_EQ(store->records(), 16);  // two segments were closed; what is in the third is not yet durable
    store->sync();
    EXPECT_EQ(count(*store, 30), 20);
  }
  const auto again = open();
  EXPECT_EQ(count(*again, 30), 20);
  append(*again, 20);
  append(*again, 3);  // is there
  again->sync();
  EXPECT_EQ(again->records(), 21);
  EXPECT_EQ(files("seg-").size(), 3u);
}

TEST_F(PrefixStoreTest, DropsTheSegmentThatWasLeastRecentlyUsed) {
  const auto store = open({}, 3);
  for (std::uint32_t n = 0; n < 24; ++n) append(*store, n);
  store->sync();
  EXPECT_TRUE(has(*store, 2));  // of the oldest
  append(*store, 24);
  store->sync();
  EXPECT_TRUE(has(*store, 2));
  EXPECT_FALSE(has(*store, 9));
  EXPECT_TRUE(has(*store, 17));
  EXPECT_TRUE(has(*store, 24));
  EXPECT_EQ(files("seg-").size(), 3u);
}

TEST_F(PrefixStoreTest, KeepsModelsApart) {
  const auto store = open();
  append(*store, 1);
  store->sync();
  const auto other = open({}, 16, all(2));
  EXPECT_FALSE(has(*other, 1));
  EXPECT_FALSE(other->read_only());
  EXPECT_TRUE(has(*store, 1));
}

TEST_F(PrefixStoreTest, IsReadOnlyWhileAnotherHasIt) {
  auto first = open();
  append(*first, 1);
  first->sync();
  {
    const auto second = open();
    EXPECT_TRUE(second->read_only());
    EXPECT_THAT(second->note(), HasSubstr("open in another process"));
    append(*second, 2);
    second->sync();
    EXPECT_TRUE(has(*second, 1));
    EXPECT_FALSE(has(*second, 2));
  }
  first.reset();
  EXPECT_FALSE(open()->read_only());
}

TEST_F(PrefixStoreTest, TakesDamageForAMiss) {
  {
    const auto store = open();
    for (std::uint32_t n = 0; n < 8; ++n) append(*store, n);
    store->sync();
  }
  const std::int64_t record = shape().record_bytes().count;
  flip(files("seg-").front(), 3 * record + 4096 + 77);  // content of record 3
  flip(files("seg-").front(), 6 * record + 40);         // header of record 6: the scan ends there
  {
    const auto store = open();
    EXPECT_EQ(store->records(), 6);
    EXPECT_EQ(count(*store, 8), 5);
    EXPECT_FALSE(has(*store, 3));
    append(*store, 3);  // once more
    append(*store, 6);
    store->sync();
    EXPECT_EQ(count(*store, 8), 7);
  }
  const auto store = open();
  EXPECT_TRUE(has(*store, 3));
  EXPECT_TRUE(has(*store, 6));
}

TEST_F(PrefixStoreTest, ADamagedManifestIsAnEmptyStore) {
  for (const std::int64_t at : {2l, 30l, 70l}) {
    {
      const auto store = open();
      append(*store, 1);
      store->sync();
    }
    flip(files("MANIFEST").front(), at);
    const auto store = open();
    EXPECT_FALSE(has(*store, 1));
    EXPECT_TRUE(files("seg-").empty());
    append(*store, 2);
    store->sync();
    EXPECT_TRUE(has(*store, 2));
  }
}

TEST_F(PrefixStoreTest, OnlyTheRightTokensAndParentAreAHit) {
  const auto store = open();
  append(*store, 1);
  store->sync();
  std::vector<std::byte> bytes(kPayload.size());
  EXPECT_FALSE(store->read(key(1), parent(2), tokens(1), bytes));
  append(*store, 1);
  store->sync();
  EXPECT_FALSE(store->read(key(1), parent(1), tokens(2), bytes));
}

TEST_F(PrefixStoreTest, GivesTheRightBytesOrNoneWhateverTheDiskDoes) {
  const std::vector<std::vector<IoFault>> scripts = {
      {IoFault::kEio},
      {IoFault::kEnospc},
      {IoFault::kHalf, IoFault::kShortByOne, IoFault::kEnd},
      {IoFault::kFlipBit},
      {IoFault::kReorder, IoFault::kEintr, IoFault::kFlipBit, IoFault::kEagain, IoFault::kEio}};
  Index found = 0;
  std::uint32_t n = 0;
  for (const auto& faults : scripts) {
    for (const int every : {1, 3, 7, 50}) {
      const std::uint32_t first = n;
      {
        const auto store = open({.every = every, .faults = faults, .delay = {}});
        for (; n < first + 20; ++n) append(*store, n);
        store->sync();
        for (std::uint32_t i = first; i < n; ++i) found += has(*store, i);
      }
      const auto store = open();  // a healthy disk again
      for (std::uint32_t i = first; i < n; ++i) has(*store, i);
    }
  }
  EXPECT_GT(found, 150);
}

TEST_F(PrefixStoreTest, OpensWithWholeRecordsAfterASuddenEnd) {
  std::mt19937 random(5);
  Index found = 0;
  for (int round = 0; round < 50; ++round) {
    std::array<int, 2> durable{};
    ASSERT_EQ(pipe(durable.data()), 0);
    const auto first = static_cast<std::uint32_t>(round * 1000);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto store = open({}, 6);
      for (std::uint32_t n = first;; ++n) {
        append(*store, n);
        if (n % 3 != 0) continue;
        store->sync();
        if (write(durable[1], &n, sizeof n) != sizeof n) _exit(1);
      }
    }
    std::uint32_t last = 0;
    ASSERT_EQ(read(durable[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    close(durable[1]);
    while (read(durable[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
    }
    close(durable[0]);
    const auto store = open({}, 6);
    ASSERT_FALSE(store->read_only());
    EXPECT_TRUE(has(*store, last)) << "round " << round << " record " << last - first;  // it was durable
    Index readable = 0;
    for (std::uint32_t n = first; n < last + 20; ++n) readable += has(*store, n);
    EXPECT_GE(readable, std::min<Index>(last - first + 1, 40)) << "round " << round;
    EXPECT_LE(files("MANIFEST").size(), 1u);
    found += readable;
  }
  EXPECT_GT(found, 50);
}

class PromptsFromAStore : public PrefixStoreTest {
 protected:
  [[nodiscard]] Plan plan() const {
    return std::get<Plan>(
        plan_inference(small_config(), layout_, {.threads = 2}, 1_GiB, {.context = 256, .sequences = 2, .chunk = 48}));
  }
  std::unique_ptr<PrefixStore> store_for(const KvLayout& kv) {
    const PrefixStoreOptions options = {folder_.path(), prefix_shape(kv), all(3)};
    ledger_.set_cap(Tier::kDisk, options.shape.disk_bytes() + 1_GiB);
    return std::make_unique<PrefixStore>(
        options, Arena(ledger_.require(Tier::kRam, Purpose::kKvPrefix, arena_bytes(options.shape.record_bytes()))),
        ledger_.require(Tier::kDisk, Purpose::kKvPrefix, options.shape.disk_bytes()), make_io_backend());
  }
  static std::vector<float> copy(std::span<const float> row) { return {row.begin(), row.end()}; }

  TestMachine machine_{2};
  WeightLayout layout_ = WeightLayout::of_shape(small_config(), DType::kQ8_0);
  std::unique_ptr<Model> model_ = Model::random(machine_.context, small_config(), layout_, 3);
};

TEST_F(PromptsFromAStore, HaveTheBitsOfThoseThatAreComputed) {
  const std::vector<TokenId> prompt = random_tokens(200, small_config().vocab_size, 1);
  std::vector<float> expected;
  {
    Session session(machine_.context, *model_, plan(), KvBacking::kPopulate);
    const auto store = store_for(plan().kv);
    StoredPrefixes prefixes(*store, session, all(4));
    const SequenceId sequence = session.open();
    EXPECT_EQ(prefixes.restore(sequence, prompt), 0);
    expected = copy(session.prefill(sequence, prompt, {}, [&](Index done, Index) {
      prefixes.keep(sequence, std::span(prompt).first(static_cast<std::size_t>(done)));
    }));
    prefixes.sync();
    EXPECT_EQ(store->records(), 12);
  }
  Session session(machine_.context, *model_, plan(), KvBacking::kPopulate);
  const auto store = store_for(plan().kv);
  StoredPrefixes prefixes(*store, session, all(4));
  const SequenceId sequence = session.open();
  EXPECT_EQ(prefixes.restore(sequence, prompt), 192);
  EXPECT_THAT(copy(session.prefill(sequence, std::span(prompt).subspan(192))), BitEqual(expected));
  // Another text that begins like it, and the same one when all but its last token could come from the store:
  std::vector<TokenId> other = prompt;
  other[70] = (other[70] + 1) % 320;
  const SequenceId second = session.open();
  EXPECT_EQ(prefixes.restore(second, other), 64);
  session.close(second);
  const SequenceId third = session.open();
  EXPECT_EQ(prefixes.restore(third, std::span(prompt).first(192)), 176);
}

TEST_F(PromptsFromAStore, BelongToTheirTenant) {
  Session session(machine_.context, *model_, plan(), KvBacking::kPopulate);
  const auto store = store_for(plan().kv);
  const std::vector<TokenId> prompt = random_tokens(100, small_config().vocab_size, 1);
  const auto reused = [&](std::string_view tenant) {
    StoredPrefixes prefixes(*store, session,
                            root_key({.model = all(5), .kv = all(6), .adapter = {}, .tenant = tenant}));
    const SequenceId sequence = session.open();
    const Index restored = prefixes.restore(sequence, prompt);
    session.prefill(sequence, std::span(prompt).subspan(static_cast<std::size_t>(restored)));
    prefixes.keep(sequence, prompt);
    prefixes.sync();
    session.close(sequence);
    return restored;
  };
  EXPECT_EQ(reused("a"), 0);
  EXPECT_EQ(reused("b"), 0);
  EXPECT_EQ(reused("a"), 96);
  EXPECT_EQ(reused("b"), 96);
}

}  // namespace
}  // namespace jericho
