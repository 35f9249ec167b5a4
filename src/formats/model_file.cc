// Tells formats apart by what is in them, never by their names, and explains the ones that cannot be opened.
#include "formats/model_file.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/builtin_model.h"
#include "formats/gguf.h"
#include "formats/input_file.h"
#include "formats/json_file.h"
#include "formats/printable.h"
#include "formats/quantized/methods.h"
#include "formats/safetensors.h"

namespace jericho {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kInput, message); }

// What a file that is no GGUF most likely is, and what to do then.
std::string explain(std::string_view start, std::int64_t size) {
  std::uint64_t length = 0;
  if (start.size() >= 8) std::memcpy(&length, start.data(), 8);
  if (start.empty()) return "is empty; is the download complete?";
  if (start.starts_with("version https://git-lfs"))
    return "is a Git LFS pointer, not the model; fetch it with 'git lfs pull'";
  if (start.size() > 8 && start[8] == '{' && length < static_cast<std::uint64_t>(size)) {
    return "is a single safetensors file; give the directory that holds it and its config.json";
  }
  if (start.starts_with("PK\x03\x04") || start.starts_with("\x80\x02") || start.starts_with("\x80\x04")) {
    return "is a PyTorch file, which can run code when it is opened; get the model as safetensors or GGUF";
  }
  if (start.starts_with("lmgg") || start.starts_with("fmgg") || start.starts_with("tjgg") ||
      start.starts_with("algg")) {
    return "is a model in the format before GGUF; convert the original again";
  }
  return "is neither a GGUF file nor a directory with config.json and safetensors";
}

std::unique_ptr<ModelFile> of_gguf(const fs::path& name, GgufModel model) {
  return std::make_unique<ModelFile>(ModelFile::Contents{.format = ModelFormat::kGguf,
                                                         .path = name,
                                                         .files = std::move(model.files),
                                                         .tensors = std::move(model.tensors),
                                                         .metadata = std::move(model.metadata)},
                                     nlohmann::json());
}

std::unique_ptr<ModelFile> open_file(const fs::path& path) {
  with_context([&] { return path.string(); },
               [&] {
                 const InputFile file(path);
                 std::string start(static_cast<std::size_t>(std::min<std::int64_t>(file.size(), 64)), '\0');
                 file.read_at(0, std::as_writable_bytes(std::span(start)));
                 if (!start.starts_with("GGUF")) bad(explain(start, file.size()));
               });
  return of_gguf(path, open_gguf(path));
}

// Why a directory is not a model: by the files people have there instead.
std::string explain_directory(const fs::path& path) {
  bool pytorch = false;
  bool gguf = false;
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string extension = entry.path().extension().string();
    pytorch |= extension == ".bin" || extension == ".pt" || extension == ".pth";
    gguf |= extension == ".gguf";
  }
  if (gguf) return "; give the .gguf file itself";
  if (pytorch)
    return "; it has PyTorch files, which can run code when they are opened: get the model as safetensors or GGUF";
  if (fs::exists(path / "adapter_config.json")) return "; it is an adapter: give the base model as the model";
  return "; is the download complete?";
}

std::unique_ptr<ModelFile> open_directory(const fs::path& path) {
  if (!fs::exists(path / "config.json")) bad(path.string() + ": has no config.json" + explain_directory(path));
  if (!fs::exists(path / "model.safetensors") && !fs::exists(path / "model.safetensors.index.json")) {
    bad(path.string() + ": has neither model.safetensors nor model.safetensors.index.json" + explain_directory(path));
  }
  const nlohmann::json config = read_json_file(path / "config.json");
  if (!config.is_object())
    bad(fmt::format("{}: config.json is {}, expected an object", path.string(), config.type_name()));
  SafetensorsModel model = open_safetensors(path);
  const ReadTensor read = [&model](const TensorInfo& tensor) {
    std::vector<std::byte> bytes(tensor.size.size());
    InputFile(model.files[static_cast<std::size_t>(tensor.file)]).read_at(tensor.offset, bytes);
    return bytes;
  };
  ModelFile::Contents contents{
      .format = ModelFormat::kHuggingFace, .path = path, .files = model.files, .tensors = model.tensors};
  try {
    contents.tensors =
        with_context([&] { return path.string(); }, [&] { return present_quantized(config, model.tensors, read); });
  } catch (const Error& error) {  // what cannot be run can still be looked at
    if (error.kind() != ErrorKind::kUnsupported) throw;
    contents.unsupported = error.what();
  }
  return std::make_unique<ModelFile>(std::move(contents), config);
}

}  // namespace

ModelFile::ModelFile(Contents contents, const nlohmann::json& config)
    : contents_(std::move(contents)),
      by_name_(index_by_name(contents_.tensors)),
      config_(std::make_unique<nlohmann::json>(config)) {}

ModelFile::~ModelFile() = default;

const TensorInfo* ModelFile::find(std::string_view name) const {
  const auto at =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [this](std::int32_t i, std::string_view wanted) { return contents_.tensors[i].name < wanted; });
  return at != by_name_.end() && contents_.tensors[*at].name == name ? &contents_.tensors[*at] : nullptr;
}

std::optional<std::string> ModelFile::side_file(std::string_view name, Bytes limit) const {
  if (!is_bare_file_name(name)) bad(fmt::format("{} is no name of a file beside the model", printable(name)));
  std::error_code ignored;  // what cannot be asked about will not open either, and says so better
  if (format() != ModelFormat::kHuggingFace) return std::nullopt;
  if (fs::status(path() / name, ignored).type() == fs::file_type::not_found) return std::nullopt;
  return with_context([&] { return (path() / name).string(); }, [&] { return read_whole_file(path() / name, limit); });
}

std::unique_ptr<ModelFile> open_model(const fs::path& path) {
  if (path == kBuiltinModel) {
    return with_context([&] { return path.string(); }, [&] { return of_gguf(path, open_gguf(builtin_model_file())); });
  }
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (status.type() == fs::file_type::not_found) throw Error(ErrorKind::kIo, path.string() + ": does not exist");
  try {
    return fs::is_directory(status) ? open_directory(path) : open_file(path);
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorKind::kIo, fmt::format("{}: {}", path.string(), error.code().message()));
  }
}

}  // namespace jericho
