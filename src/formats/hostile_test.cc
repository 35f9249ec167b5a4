// Parsers against files that lie: the fuzzers' corpora, every truncation, single flipped bytes and impossible counts,
// with the memory they take counted.
#include <malloc.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>

#include "base/test_data.h"
#include "formats/fuzz_bodies.h"
#include "formats/input_file.h"
#include "formats/test_files.h"

namespace {

std::atomic<std::int64_t> live_bytes{0};
std::atomic<std::int64_t> peak_bytes{0};

}  // namespace

// Counts what the whole test binary allocates.
void* operator new(std::size_t size) {
  void* const memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  const std::int64_t now = live_bytes += static_cast<std::int64_t>(malloc_usable_size(memory));
  if (now > peak_bytes) peak_bytes = now;
  return memory;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory) noexcept {
  live_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { operator delete(memory); }

namespace jericho {
namespace {

// Peak of the bytes that `body` holds at a time.
template <class Body>
std::int64_t peak_of(Body body) {
  const std::int64_t before = live_bytes;
  peak_bytes = before;
  body();
  return peak_bytes - before;
}

// 16 bytes for each of the file, and what messages and first allocations take.
std::int64_t allowed(std::size_t file) { return 16 * static_cast<std::int64_t>(file) + (64 << 10); }

std::filesystem::path corpus(const char* fuzzer) { return test_source("formats/corpus") / fuzzer; }

template <class Parse>
void replay(const char* fuzzer, Parse parse) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(corpus(fuzzer))) {
    const std::string name = entry.path().filename().string();
    const std::string content = read_whole_file(entry.path(), 1_MiB);
    bool valid = false;
    EXPECT_LE(peak_of([&] { valid = parse(content); }), allowed(content.size())) << name;
    EXPECT_EQ(valid, name.starts_with("good_")) << name;
    ++files;
  }
  EXPECT_GT(files, 15);
}

bool gguf(std::string_view file) { return fuzz::gguf(bytes_of(file), static_cast<std::int64_t>(file.size())); }
bool safetensors(std::string_view file) {
  return fuzz::safetensors(bytes_of(file), static_cast<std::int64_t>(file.size()));
}

TEST(Corpus, OfGgufReplays) { replay("gguf_fuzz", gguf); }
TEST(Corpus, OfSafetensorsReplays) { replay("safetensors_fuzz", safetensors); }
bool quantized(std::string_view file) { return fuzz::quantized(bytes_of(file)); }
TEST(Corpus, OfQuantizedReplays) { replay("quantized_fuzz", quantized); }
TEST(Corpus, OfConfigJsonReplays) { replay("config_json_fuzz", fuzz::config_json); }

TEST(Gguf, RefusesEveryTruncation) {
  for (const char* name : {"good_all_types", "good_blocks", "good_minimal"}) {
    const std::string file = read_whole_file(corpus("gguf_fuzz") / name, 1_MiB);
    const GgufHeader header = parse_gguf_header(bytes_of(file), static_cast<std::int64_t>(file.size()));
    std::int64_t needed = 0;
    for (const TensorInfo& tensor : header.tensors) needed = tensor.offset + tensor.size.count;
    if (header.tensors.empty()) continue;
    for (std::int64_t size = 0; size < needed; ++size)
      EXPECT_FALSE(gguf(std::string_view(file).substr(0, size))) << name << size;
    EXPECT_TRUE(gguf(std::string_view(file).substr(0, needed))) << name;
  }
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string file = read_whole_file(corpus("safetensors_fuzz") / "good_types", 1_MiB);
  const std::size_t needed = file.size() - 7;  // the last tensor is one byte of eight
  for (std::size_t size = 0; size < needed; ++size)
    EXPECT_FALSE(safetensors(std::string_view(file).substr(0, size))) << size;
}

// Flips every bit and sets every byte to a few telling values. The parser may accept or refuse; fuzz_bodies.h checks
// its promises.
template <class Parse>
void flip_first(std::string file, std::size_t bytes, Parse parse) {
  for (std::size_t i = 0; i < std::min(bytes, file.size()); ++i) {
    const char kept = file[i];
    for (const int change : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
      file[i] = static_cast<char>(kept ^ change);
      EXPECT_LE(peak_of([&] { parse(file); }), allowed(file.size())) << "byte " << i << " changed by " << change;
    }
    file[i] = kept;
  }
}

template <class Parse>
void flip(const std::string& file, Parse parse) {
  flip_first(file, file.size(), parse);
}

TEST(Gguf, SurvivesFlippedBytes) {
  for (const char* name : {"good_minimal", "good_all_types", "good_blocks", "good_split"}) {
    flip(read_whole_file(corpus("gguf_fuzz") / name, 1_MiB), gguf);
  }
}
TEST(Safetensors, SurvivesFlippedBytes) {
  flip(read_whole_file(corpus("safetensors_fuzz") / "good_metadata", 1_MiB), safetensors);
}
TEST(Quantized, SurvivesFlippedBytes) {
  for (const auto& entry : std::filesystem::directory_iterator(corpus("quantized_fuzz"))) {
    if (!entry.path().filename().string().starts_with("good_")) continue;
    SCOPED_TRACE(entry.path().filename().string());
    std::string file = read_whole_file(entry.path(), 1_MiB);
    std::uint64_t header = 0;
    std::copy_n(file.begin(), sizeof header, reinterpret_cast<char*>(&header));
    flip_first(std::move(file), std::min<std::size_t>(header + 8 + 256, 2000), quantized);
  }
}
TEST(ConfigJson, SurvivesFlippedBytes) {
  flip(read_whole_file(corpus("config_json_fuzz") / "good_config", 1_MiB), fuzz::config_json);
}

// Every 8 bytes of the header in turn become a count that no file can keep, in a file that claims to be as large as it
// gets.
TEST(Gguf, DoesNotAllocateByALyingCount) {
  const auto start = std::chrono::steady_clock::now();
  for (const char* name : {"good_all_types", "good_blocks"}) {
    const std::string file = read_whole_file(corpus("gguf_fuzz") / name, 1_MiB);
    for (const std::uint64_t lie :
         {std::uint64_t{1} << 31, std::uint64_t{1} << 40, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
      for (std::size_t at = 8; at + sizeof lie <= file.size(); ++at) {
        std::string lying = file;
        std::copy_n(reinterpret_cast<const char*>(&lie), sizeof lie, lying.begin() + static_cast<std::ptrdiff_t>(at));
        const std::int64_t peak = peak_of([&] { fuzz::gguf(bytes_of(lying), std::int64_t{1} << 62); });
        ASSERT_LE(peak, allowed(lying.size())) << name << " lie " << lie << " at byte " << at;
      }
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Gguf, RefusesAHeaderLargerThanItsLimit) {
  std::string file = read_whole_file(corpus("gguf_fuzz") / "bad_bool_array_length", 1_MiB);
  const ReadAt zeros = [&](std::int64_t offset, std::span<std::byte> out) {  // a sparse file of a tebibyte
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t at = static_cast<std::size_t>(offset) + i;
      out[i] = at < file.size() ? std::byte(file[at]) : std::byte{0};
    }
  };
  EXPECT_EQ(error_of([&] { return parse_gguf_header(zeros, std::int64_t{1} << 42).version; }),
            "input: key 'k': an array at byte 49: the header is larger than 256 MiB");
}

TEST(Gguf, DoesNotTrustACountThatWouldFitTheFile) {
  GgufWriter writer;
  writer.set("tokens", std::vector<std::string>(1));
  std::string file = file_of(writer, {});
  const std::uint64_t lie = 1 << 24;  // 128 MiB of empty texts: possible in a file of a tebibyte
  std::copy_n(reinterpret_cast<const char*>(&lie), sizeof lie, file.begin() + 24 + 8 + 6 + 4 + 4);
  std::fill_n(file.begin() + 24 + 8 + 6 + 4 + 4 + 8, 8, '\xff');
  const ReadAt same = [&](std::int64_t offset, std::span<std::byte> out) {
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = std::byte(file[(static_cast<std::size_t>(offset) + i) % file.size()]);
  };
  std::string error;
  EXPECT_LE(peak_of([&] { error = error_of([&] { return parse_gguf_header(same, std::int64_t{1} << 40).version; }); }),
            256 << 10);
  EXPECT_NE(error, "");
}

TEST(Gguf, TakesASmallMultipleOfAHeaderOfManyTexts) {
  GgufWriter writer;
  writer.set("tokens", std::vector<std::string>(
                           100000));  // the worst case: 8 bytes in the file, 32 in memory, thrice when the array grows
  const std::string file = file_of(writer, {});
  EXPECT_LE(peak_of([&] { gguf(file); }), 12 * static_cast<std::int64_t>(file.size()));
}

}  // namespace
}  // namespace jericho
