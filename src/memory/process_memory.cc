// Reading the kernel's and the C library's figures: see process_memory.h.
#include "memory/process_memory.h"

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/error.h"
#include "memory/proc_text.h"

namespace jericho {
namespace {

struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool readable = false;
  bool executable = false;
  std::string_view path;
};

// "7f00-7f80 r-xp 00001000 08:01 1234   /usr/lib/libc.so.6"; nothing unless a file is behind it.
std::optional<Mapping> parse_mapping(std::string_view line) {
  Mapping mapping;
  const char* const end = line.data() + line.size();
  const auto begin = std::from_chars(line.data(), end, mapping.begin, 16);
  if (begin.ec != std::errc{} || begin.ptr == end || *begin.ptr != '-') return std::nullopt;
  const auto rest = std::from_chars(begin.ptr + 1, end, mapping.end, 16);
  if (rest.ec != std::errc{} || end - rest.ptr < 5) return std::nullopt;
  mapping.readable = rest.ptr[1] == 'r';
  mapping.executable = rest.ptr[3] == 'x';
  const std::size_t path = line.find('/');  // no field before the path has a slash
  if (path == std::string_view::npos) return std::nullopt;
  mapping.path = line.substr(path);
  return mapping;
}

void make_resident(const Mapping& mapping) {
  auto* const begin =
      reinterpret_cast<std::byte*>(mapping.begin);  // NOLINT(performance-no-int-to-ptr): parsed from text
  const std::size_t length = mapping.end - mapping.begin;
#ifdef MADV_POPULATE_READ
  if (madvise(begin, length, MADV_POPULATE_READ) == 0) return;
  if (errno != EINVAL && errno != ENOSYS) return;  // past the end of its file, or gone: touching it would be worse
#endif
  for (std::size_t at = 0; at < length; at += 4096) {
    static_cast<void>(*reinterpret_cast<const volatile std::byte*>(begin + at));
  }
}

}  // namespace

ProcessMemory read_process_memory(const std::filesystem::path& proc) {
  const std::optional<std::string> text = read_text(proc / "status");
  const std::optional<Bytes> rss = text ? kib_field(*text, "VmRSS") : std::nullopt;
  if (!rss) throw Error(ErrorKind::kIo, fmt::format("{}: no VmRSS; is /proc mounted?", (proc / "status").string()));
  const auto field = [&](std::string_view name) { return kib_field(*text, name).value_or(Bytes{}); };
  return {field("VmHWM"), *rss, field("RssAnon"), field("RssFile"), field("RssShmem"), field("VmPTE")};
}

std::optional<MemoryRollup> read_memory_rollup(const std::filesystem::path& proc) {
  const std::optional<std::string> text = read_text(proc / "smaps_rollup");
  const std::optional<Bytes> rss = text ? kib_field(*text, "Rss") : std::nullopt;
  if (!rss) return std::nullopt;
  const auto field = [&](std::string_view name) { return kib_field(*text, name).value_or(Bytes{}); };
  return MemoryRollup{*rss,
                      field("Pss"),
                      field("Pss_Anon"),
                      field("Pss_File"),
                      field("Pss_Shmem"),
                      field("AnonHugePages"),
                      field("SwapPss")};
}

HeapMemory read_heap_memory() {
  const struct mallinfo2 info = mallinfo2();
  const auto bytes = [](std::size_t count) { return Bytes{static_cast<std::int64_t>(count)}; };
  return {bytes(info.arena), bytes(info.hblkhd), bytes(info.uordblks), bytes(info.fordblks)};
}

bool reset_peak() {
  const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = write(fd, "5", 1) == 1;
  close(fd);
  return done;
}

Bytes prefault_code() {
  const std::optional<std::string> text = read_text("/proc/self/maps");
  if (!text) return {};
  std::vector<Mapping> mappings;
  std::set<std::string_view> code;  // files with an executable part; others are data, such as a model or a locale
  for (const std::string_view line : split(*text, '\n')) {
    const std::optional<Mapping> mapping = parse_mapping(line);
    if (!mapping) continue;
    mappings.push_back(*mapping);
    if (mapping->executable) code.insert(mapping->path);
  }
  Bytes covered;
  for (const Mapping& mapping : mappings) {
    if (!mapping.readable || !code.contains(mapping.path)) continue;
    make_resident(mapping);
    covered += Bytes{static_cast<std::int64_t>(mapping.end - mapping.begin)};
  }
  return covered;
}

void tame_allocator() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 8 << 20);
}

}  // namespace jericho
