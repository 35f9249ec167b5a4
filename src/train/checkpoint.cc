// Writing, naming and reading checkpoints: see checkpoint.h.
#include "train/checkpoint.h"

#include <algorithm>
#include <fstream>
#include <map>

#include <fmt/format.h>
#include <xxhash.h>

#include "base/error.h"
#include "convert/output_file.h"
#include "convert/side_files.h"
#include "formats/input_file.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "memory/file.h"
#include "train/model_folder.h"
#include "train/weight_parts.h"

namespace jericho {
namespace {

constexpr const char* kStates = "optimizer.safetensors";
constexpr const char* kProgress = "state.json";
constexpr const char* kManifest = "MANIFEST.json";

std::string hash_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  std::vector<char> buffer(1 << 20);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    XXH3_64bits_update(state, buffer.data(), static_cast<std::size_t>(in.gcount()));
  }
  const std::uint64_t hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return fmt::format("{:016x}", hash);
}

// Every part of every tensor's state: body(name, part, its bytes).
template <class Body>
void over_states(const TrainedState& s, const Body& body) {
  for (std::size_t i = 0; i < s.optimizers.size(); ++i) {
    if (s.optimizers[i] == nullptr) continue;
    const std::vector<StatePart> parts = s.optimizers[i]->state_parts();
    const std::vector<Bytes> offsets = part_offsets(parts);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      body(s.optimizers[i]->shape().name + "." + parts[p].name, parts[p],
           s.states[i].subspan(offsets[p].size(), parts[p].bytes().size()));
    }
  }
}

void write_states(const std::filesystem::path& path, const TrainedState& s) {
  SafetensorsWriter writer;
  over_states(s, [&](const std::string& name, const StatePart& part, std::span<const std::byte>) {
    writer.add_tensor(name, part.dtype, part.shape);
  });
  OutputFile out(path);
  writer.begin(out.stream());
  over_states(s, [&](const std::string&, const StatePart&, std::span<const std::byte> bytes) { writer.append(bytes); });
  out.close();
}

// The tensors of one file, read to where body(info) says.
class TensorReader {
 public:
  explicit TensorReader(const std::filesystem::path& path)
      : file_(File::open_read(path, FileCache::kUse)), header_(read_safetensors_header(InputFile(path))) {
    for (const TensorInfo& tensor : header_.tensors) by_name_[tensor.name] = &tensor;
  }
  void read(const std::string& name, DType dtype, std::span<std::byte> to) const {
    file_.read_exactly(find(name, dtype, to.size())->offset, to);
  }
  void read_weight(const WeightPart& part, std::span<std::byte> stored) const {
    const auto size = static_cast<std::size_t>(std::ssize(stored) / part.unit.count) * part.unit_bytes().size();
    const TensorInfo* found = find(part.name, part.dtype, size);
    read_part(part, stored,
              [&](Bytes offset, std::span<std::byte> to) { file_.read_exactly(found->offset + offset.count, to); });
  }

 private:
  [[nodiscard]] const TensorInfo* find(const std::string& name, DType dtype, std::size_t size) const {
    const auto found = by_name_.find(name);
    if (found == by_name_.end() || found->second->dtype != dtype || found->second->size.size() != size) {
      throw Error(ErrorKind::kInput, fmt::format("{}: tensor '{}': expected {} bytes of {}, found {}; was the run's "
                                                 "configuration changed?",
                                                 file_.path(), name, size, jericho::name(dtype),
                                                 found == by_name_.end() ? "none" : "another size or type"));
    }
    return found->second;
  }

  File file_;
  SafetensorsHeader header_;
  std::map<std::string, const TensorInfo*> by_name_;
};

std::optional<nlohmann::json> read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  nlohmann::json json = nlohmann::json::parse(in, nullptr, false);
  if (!in.is_open() || json.is_discarded()) return std::nullopt;
  return json;
}

// Every file of the manifest is there in its size; the hash of all is compared when tensors are read.
bool is_whole(const std::filesystem::path& folder) {
  const auto manifest = read_json(folder / kManifest);
  if (!manifest || !manifest->is_object()) return false;
  return std::all_of(manifest->items().begin(), manifest->items().end(), [&](const auto& entry) {
    std::error_code missing;
    const auto size = std::filesystem::file_size(folder / entry.key(), missing);
    return !missing && entry.value().value("bytes", std::uint64_t{0}) == size;
  });
}

std::optional<Index> step_of(const std::string& name) {
  if (!name.starts_with("step-")) return std::nullopt;
  const std::string digits = name.substr(5);
  if (digits.empty() || digits.size() > 15 || digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoll(digits);
}

}  // namespace

Checkpoints::Checkpoints(std::filesystem::path run, Index keep_last)
    : folder_(std::move(run) / "checkpoints"), keep_last_(keep_last) {
  std::error_code failure;
  std::filesystem::create_directories(folder_, failure);
  if (failure) throw Error(ErrorKind::kIo, fmt::format("{}: {}", folder_.string(), failure.message()));
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(".tmp-") || name.starts_with(".del-")) std::filesystem::remove_all(entry.path(), failure);
  }
}

std::filesystem::path Checkpoints::folder(Index step) const { return folder_ / fmt::format("step-{:08}", step); }

Bytes Checkpoints::bytes(const TrainedState& state) {
  Bytes sum{static_cast<std::int64_t>(state.weights.size_bytes())};
  for (const auto& optimizer : state.optimizers) sum += optimizer == nullptr ? 0_B : optimizer->state_bytes();
  return sum;
}

void Checkpoints::save(Index step, const TrainedState& state, const nlohmann::json& progress,
                       std::span<const SideFile> files) {
  const std::filesystem::path final = folder(step);
  const std::filesystem::path partial = folder_ / (".tmp-" + final.filename().string());
  std::error_code ignored;
  std::filesystem::remove_all(partial, ignored);
  try {
    const Bytes needed = bytes(state) + 16_MiB;
    const auto space = std::filesystem::space(folder_);
    if (space.available < needed.size()) {
      throw Error(ErrorKind::kIo,
                  fmt::format("{}: a checkpoint takes {}, the disk has {} left; free some", folder_.string(),
                              format_bytes(needed), format_bytes({static_cast<std::int64_t>(space.available)})));
    }
    std::filesystem::create_directory(partial);
    write_model_files(partial, state.layout, state.weights, files);
    write_states(partial / kStates, state);
    write_text(partial / kProgress, progress.dump(1) + "\n");
    nlohmann::json manifest;
    for (const auto& entry : std::filesystem::directory_iterator(partial)) {
      manifest[entry.path().filename().string()] = {{"bytes", entry.file_size()}, {"xxh3", hash_of(entry.path())}};
    }
    write_text(partial / kManifest, manifest.dump(1) + "\n");
    sync_to_disk(partial);
    if (std::filesystem::exists(final)) {
      std::filesystem::rename(final, folder_ / (".del-" + final.filename().string()));
    }
    std::filesystem::rename(partial, final);
    sync_to_disk(folder_, Sync::kThis);
  } catch (const std::filesystem::filesystem_error& failure) {
    std::filesystem::remove_all(partial, ignored);
    throw Error(ErrorKind::kIo, fmt::format("{}: {}", final.string(), failure.code().message()));
  } catch (...) {
    std::filesystem::remove_all(partial, ignored);
    throw;
  }
  link("latest", step);
  drop_old();
}

void Checkpoints::mark_best(Index step) {
  link("best", step);
  drop_old();
}

void Checkpoints::link(const std::string& name, Index step) const {
  std::error_code failure;
  const std::filesystem::path temporary = folder_ / (name + ".tmp");
  std::filesystem::remove(temporary, failure);
  std::filesystem::create_directory_symlink(folder(step).filename(), temporary, failure);
  if (!failure) std::filesystem::rename(temporary, folder_ / name, failure);
  if (failure) throw Error(ErrorKind::kIo, fmt::format("{}: {}", (folder_ / name).string(), failure.message()));
  sync_to_disk(folder_, Sync::kThis);
}

void Checkpoints::mend_links(std::optional<Index> best) const {
  const std::vector<Index> all = steps();
  if (!all.empty()) link("latest", all.back());
  if (best && std::binary_search(all.begin(), all.end(), *best)) link("best", *best);
}

std::optional<Index> Checkpoints::best() const {
  std::error_code missing;
  const auto target = std::filesystem::read_symlink(folder_ / "best", missing);
  return missing ? std::nullopt : step_of(target.filename().string());
}

std::vector<Index> Checkpoints::steps() const {
  std::vector<Index> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    const auto step = step_of(entry.path().filename().string());
    if (step && is_whole(entry.path())) found.push_back(*step);
  }
  std::sort(found.begin(), found.end());
  return found;
}

void Checkpoints::drop_old() const {
  std::vector<Index> all = steps();
  const std::optional<Index> kept = best();
  while (static_cast<Index>(all.size()) > keep_last_) {
    const Index step = all.front();
    all.erase(all.begin());
    if (kept && *kept == step) continue;
    std::error_code ignored;
    const std::filesystem::path dying = folder_ / (".del-" + folder(step).filename().string());
    std::filesystem::rename(folder(step), dying, ignored);
    std::filesystem::remove_all(dying, ignored);
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    std::error_code ignored;
    if (entry.path().filename().string().starts_with(".del-")) std::filesystem::remove_all(entry.path(), ignored);
  }
}

std::optional<nlohmann::json> Checkpoints::latest_progress() const {
  const std::vector<Index> all = steps();
  if (all.empty()) return std::nullopt;
  return read_json(folder(all.back()) / kProgress);
}

std::optional<nlohmann::json> Checkpoints::load_latest(const TrainedState& state) const {
  const std::vector<Index> all = steps();
  if (all.empty()) return std::nullopt;
  const std::filesystem::path from = folder(all.back());
  const auto manifest = read_json(from / kManifest);
  for (const auto& entry : manifest->items()) {
    if (entry.value().value("xxh3", "") != hash_of(from / entry.key())) {
      throw Error(ErrorKind::kInput,
                  fmt::format("{}: its bytes are not those that were saved; remove the folder {} to go on "
                              "from the checkpoint before it",
                              (from / entry.key()).string(), from.string()));
    }
  }
  const TensorReader weights(from / trained_file(state.layout)), states(from / kStates);
  for (const TrainedTensor& t : state.layout.tensors()) {
    if (!t.is_trained()) continue;
    for (const WeightPart& part : weight_parts(t))
      weights.read_weight(part, state.weights.subspan(t.offset.size(), t.stored_bytes().size()));
  }
  over_states(state, [&](const std::string& name, const StatePart& part, std::span<std::byte> bytes) {
    states.read(name, part.dtype, bytes);
  });
  return read_json(from / kProgress);
}

}  // namespace jericho
