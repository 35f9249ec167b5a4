// The seeds of the fuzzers, whole, cut short and with bits flipped: only Errors come of them.
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>

#include <gtest/gtest.h>

#include "base/test_data.h"
#include "engine/fuzz_bodies.h"
#include "engine/prefix_store_fuzz_body.h"

namespace jericho {
namespace {

using Body = bool (*)(std::span<const std::byte>);

void replay(const char* fuzzer, Body body) {
  const std::filesystem::path folder = test_source("engine/corpus") / fuzzer;
  int seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path());
    std::ifstream file(entry.path(), std::ios::binary);
    std::string seed(std::istreambuf_iterator<char>(file), {});
    const auto bytes = [&] { return std::as_bytes(std::span(seed)); };
    EXPECT_TRUE(body(bytes()));
    for (std::size_t size = 0; size < seed.size(); size += 97) body(bytes().first(size));
    for (std::size_t i = 0; i < seed.size(); i += 53) {
      seed[i] = static_cast<char>(seed[i] ^ 0x41);
      body(bytes());
      seed[i] = static_cast<char>(seed[i] ^ 0x41);
    }
    ++seeds;
  }
  EXPECT_GE(seeds, 3);
}

TEST(HostileModel, GgufSeedsAreSoundAndTheirDamagedFormsAreSurvived) { replay("gguf_model_fuzz", fuzz::gguf_model); }

TEST(HostileModel, ConfigSeedsAreSoundAndTheirDamagedFormsAreSurvived) { replay("config_fuzz", fuzz::config); }

TEST(HostilePrefixStore, SeedsAreFoundAndTheirDamagedFormsAreSurvived) {
  replay("prefix_store_fuzz", fuzz::prefix_store);
}

}  // namespace
}  // namespace jericho
