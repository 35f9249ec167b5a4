// The file of a machine record: see machine_file.h.
#include "cli/machine_file.h"

#include <cstdlib>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/write_file.h"
#include "formats/input_file.h"

namespace jericho::cli {
namespace {

constexpr Bytes kLargestRecord = 64_KiB;

std::optional<std::filesystem::path> folder_from(const char* variable, const char* below) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value != '/') return std::nullopt;  // the specification ignores relative paths
  return std::filesystem::path(value) / below;
}

// "AMD EPYC 9B45 64-Core" -> "amd-epyc-9b45-64-core"
std::string slug(const std::string& text) {
  constexpr std::size_t kLongest = 64;
  std::string out;
  for (const char c : text) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool plain = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain)
      out += static_cast<char>(upper ? c - 'A' + 'a' : c);
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  out.resize(std::min(out.size(), kLongest));
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out.empty() ? "processor" : out;
}

std::optional<std::filesystem::path> file_of(const MachineIdentity& identity) {
  const auto folder = cache_folder();
  if (!folder) return std::nullopt;
  return *folder / fmt::format("machine-{}-{}-t{}.json", slug(identity.cpu.model), identity.path, identity.threads);
}

}  // namespace

std::optional<std::filesystem::path> cache_folder() {
  auto folder = folder_from("XDG_CACHE_HOME", "jericho");
  return folder ? folder : folder_from("HOME", ".cache/jericho");
}

KeptRecord kept_record(const MachineIdentity& now) {
  const auto file = file_of(now);
  std::error_code unknown;
  if (!file || !std::filesystem::exists(*file, unknown)) return {};
  try {
    const std::string text =
        with_context([&] { return file->string(); }, [&] { return read_whole_file(*file, kLargestRecord); });
    MachineRecord record = parse_machine_record(text, file->string());
    if (const auto difference = record.identity.difference(now))
      return {.note = fmt::format("{} is another machine's ({}) and not used", file->string(), *difference)};
    return {.record = std::move(record)};
  } catch (const Error& error) {
    return {.note = fmt::format("{}; it is not used", error.what())};
  }
}

std::filesystem::path keep_record(const MachineRecord& record) {
  const auto file = file_of(record.identity);
  if (!file) {
    throw Error(ErrorKind::kIo, "neither XDG_CACHE_HOME nor HOME names a folder to keep the machine's figures in");
  }
  std::error_code failed;
  std::filesystem::create_directories(file->parent_path(), failed);
  if (failed) {
    throw Error(ErrorKind::kIo, fmt::format("{}: cannot be made: {}", file->parent_path().string(), failed.message()));
  }
  write_file_atomically(*file, to_json(record).dump(1) + "\n");
  return *file;
}

}  // namespace jericho::cli
