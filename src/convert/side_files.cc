// From the source's words to the target's: see side_files.h.
#include "convert/side_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "convert/config_to_gguf.h"
#include "convert/config_to_json.h"
#include "convert/tokenizer_to_gguf.h"
#include "formats/metadata.h"

namespace jericho {
namespace {

// The type that most elements of the matrices have.
DType main_type(const std::vector<OutputTensor>& tensors) {
  std::map<DType, Index> elements;
  for (const OutputTensor& tensor : tensors) {
    if (!tensor.is_matrix()) continue;
    Index count = 1;
    for (const Index extent : tensor.shape) count *= extent;
    elements[tensor.dtype] += count;
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == elements.end() ? DType::kF32 : most->first;
}

std::optional<TypeMix> mix_of(const std::vector<OutputTensor>& tensors) {
  return TypeMix::named(name(main_type(tensors)));
}

// Metadata has one integer type for readers; files written before us have these widths.
struct ToGguf {
  GgufValue operator()(bool v) const { return v; }
  GgufValue operator()(std::uint64_t v) const {
    return v <= 0xffffffffu ? GgufValue(static_cast<std::uint32_t>(v)) : GgufValue(v);
  }
  GgufValue operator()(std::int64_t v) const {
    return v >= INT32_MIN && v <= INT32_MAX ? GgufValue(static_cast<std::int32_t>(v)) : GgufValue(v);
  }
  GgufValue operator()(double v) const { return static_cast<float>(v); }
  GgufValue operator()(const std::string& v) const { return v; }
  GgufValue operator()(const std::vector<bool>& v) const { return v; }
  GgufValue operator()(const std::vector<std::uint64_t>& v) const {
    const bool wide = std::any_of(v.begin(), v.end(), [](std::uint64_t x) { return x > 0xffffffffu; });
    if (wide)
      throw Error(ErrorKind::kUnsupported, "the GGUF holds an array of 64-bit numbers, which is not supported yet");
    return std::vector<std::uint32_t>(v.begin(), v.end());
  }
  GgufValue operator()(const std::vector<std::int64_t>& v) const {
    const bool wide = std::any_of(v.begin(), v.end(), [](std::int64_t x) { return x < INT32_MIN || x > INT32_MAX; });
    if (wide)
      throw Error(ErrorKind::kUnsupported, "the GGUF holds an array of 64-bit numbers, which is not supported yet");
    return std::vector<std::int32_t>(v.begin(), v.end());
  }
  GgufValue operator()(const std::vector<double>& v) const { return std::vector<float>(v.begin(), v.end()); }
  GgufValue operator()(const std::vector<std::string>& v) const { return v; }
};

bool describes_the_file(const std::string& key) {
  constexpr std::array<std::string_view, 3> kKeys = {"general.alignment", "general.file_type",
                                                     "general.quantization_version"};
  return key.starts_with("split.") || std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end();
}

constexpr std::string_view kBytesKey = "tokenizer.ggml.precompiled_charsmap";  // an array of u8

void copy_metadata(const Metadata& metadata, GgufWriter& out) {
  const auto architecture = metadata.entries().find("general.architecture");
  if (architecture != metadata.entries().end())
    out.set(architecture->first, std::visit(ToGguf(), architecture->second));
  for (const auto& [key, value] : metadata.entries()) {
    if (describes_the_file(key) || key == "general.architecture") continue;
    const auto* bytes = std::get_if<std::vector<std::uint64_t>>(&value);
    if (key == kBytesKey && bytes != nullptr) {
      out.set(key, std::vector<std::uint8_t>(bytes->begin(), bytes->end()));
    } else {
      out.set(key, std::visit(ToGguf(), value));
    }
  }
}

const char* torch_type(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kBF16 ? "bfloat16" : "float16";
}

constexpr Bytes kLargestSideFile = 256_MiB;

// Files that a directory has beside its tensors and that do not depend on their types.
constexpr std::array<const char*, 12> kSideFiles = {"tokenizer.json",
                                                    "tokenizer.model",
                                                    "tokenizer_config.json",
                                                    "special_tokens_map.json",
                                                    "added_tokens.json",
                                                    "vocab.json",
                                                    "merges.txt",
                                                    "generation_config.json",
                                                    "chat_template.jinja",
                                                    "chat_template.json",
                                                    "preprocessor_config.json",
                                                    "LICENSE"};

SideFile config_file(nlohmann::json config, const std::vector<OutputTensor>& tensors) {
  config["torch_dtype"] = torch_type(main_type(tensors));
  return {"config.json", config.dump(2) + "\n"};
}

}  // namespace

std::vector<std::string> write_gguf_metadata(const ModelFile& file, const ModelConfig& config,
                                             const std::vector<OutputTensor>& tensors, const TypeMix* mix,
                                             GgufWriter& out) {
  std::vector<std::string> notes;
  if (file.format() == ModelFormat::kGguf) {
    copy_metadata(file.metadata(), out);
  } else {
    const std::string architecture = gguf_architecture(config.architecture);
    out.set("general.architecture", architecture);
    out.set("general.type", std::string("model"));
    const std::filesystem::path path = std::filesystem::absolute(file.path()).lexically_normal();
    out.set("general.name", (path.has_filename() ? path : path.parent_path()).filename().string());
    write_gguf_config(config, architecture, out);
    notes = write_gguf_tokenizer(file, config.vocab_size, out);
  }
  const std::optional<TypeMix> found = mix != nullptr ? *mix : mix_of(tensors);
  if (found) out.set("general.file_type", found->file_type());
  out.set("general.quantization_version", std::uint32_t{2});  // of ggml's block formats
  return notes;
}

std::vector<SideFile> directory_side_files(const ModelFile& file, const ModelConfig& config,
                                           const std::vector<OutputTensor>& tensors) {
  if (file.format() == ModelFormat::kGguf) {
    std::vector<SideFile> files = hugging_face_tokenizer(file);
    files.push_back(config_file(config_to_json(config, file), tensors));
    return files;
  }
  nlohmann::json own = file.config();
  own.erase("quantization_config");  // the weights are plain now
  std::vector<SideFile> files = {config_file(std::move(own), tensors)};
  for (const char* name : kSideFiles) {
    if (auto bytes = file.side_file(name, kLargestSideFile)) files.push_back({name, std::move(*bytes)});
  }
  return files;
}

void sync_to_disk(const std::filesystem::path& path, Sync what) {
  std::vector<std::filesystem::path> all = {path};
  if (what == Sync::kWithFiles && std::filesystem::is_directory(path)) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) all.push_back(entry.path());
  }
  for (const auto& each : all) {
    const int fd = open(each.c_str(), O_RDONLY | O_CLOEXEC);
    const bool synced = fd >= 0 && fsync(fd) == 0;
    const int error = errno;
    if (fd >= 0) close(fd);
    if (!synced) throw Error(ErrorKind::kIo, fmt::format("{}: {}", each.string(), std::strerror(error)));
  }
}

}  // namespace jericho
