// Which file is read when several are there. Start at read_directory().
#include "text/load_tokenizer.h"

#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/metadata.h"
#include "formats/model_file.h"
#include "text/gguf_tokenizer.h"
#include "text/hf_settings.h"
#include "text/sentencepiece_model.h"
#include "text/special_ids.h"
#include "text/tiktoken.h"
#include "text/tokenizer_json.h"
#include "text/vocab_merges.h"

namespace jericho {
namespace {

constexpr Bytes kMaxFile = 256_MiB;

std::optional<std::string> read_file(const std::filesystem::path& path, Bytes limit) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(path, failure);
  if (failure) return std::nullopt;
  if (size > limit.size()) {
    throw Error(ErrorKind::kInput, fmt::format("{}: {} is more than a tokenizer file may have ({})", path.string(),
                                               format_bytes({static_cast<std::int64_t>(size)}), format_bytes(limit)));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    throw Error(ErrorKind::kIo, fmt::format("{}: cannot be read", path.string()));
  }
  return text;
}

// A model of a Hugging Face directory other than the tokenizer.json: `parts` as read, BOS and EOS as the settings say.
TokenizerParts with_settings(TokenizerParts parts, const HuggingFaceSettings& settings, bool add_bos_by_default) {
  apply_special_ids(settings, parts);
  set_affixes(parts, settings.add_bos.value_or(add_bos_by_default), settings.add_eos.value_or(false));
  return parts;
}

TokenizerParts read_tokenizer_model(std::string_view bytes, const HuggingFaceSettings& settings) {
  if (!looks_like_sentencepiece_model(bytes)) return with_settings(read_tiktoken(bytes, settings), settings, true);
  const auto prefix = settings.legacy.value_or(true) ? SpacePrefix::kAfterSpecialTokens : SpacePrefix::kAtStart;
  return with_settings(read_sentencepiece_model(bytes, prefix), settings, true);
}

TokenizerParts read_json(std::string_view text, const HuggingFaceSettings& settings) {
  TokenizerParts parts = read_tokenizer_json(text);
  apply_special_ids(settings, parts);  // BOS and EOS are put where the file's post_processor says
  return parts;
}

std::unique_ptr<Tokenizer> read_directory(const SideFiles& files, const nlohmann::json& config) {
  const HuggingFaceSettings settings = read_hugging_face_settings(files, config);
  const auto read = [&](const char* name, auto reader) {
    const std::optional<std::string> text = files(name);
    if (!text) return std::unique_ptr<Tokenizer>();
    return with_context([&] { return std::string(name); },
                        [&] { return std::make_unique<Tokenizer>(reader(*text, settings)); });
  };
  if (auto tokenizer = read("tokenizer.json", read_json)) return tokenizer;
  if (auto tokenizer = read("tokenizer.model", read_tokenizer_model)) return tokenizer;
  const auto vocab = files("vocab.json");
  const auto merges = files("merges.txt");
  if (!vocab || !merges) {
    throw Error(ErrorKind::kInput,
                "no tokenizer: looked for tokenizer.json, tokenizer.model, and vocab.json with merges.txt; give ids "
                "with --tokens");
  }
  return std::make_unique<Tokenizer>(with_settings(read_vocab_merges(*vocab, *merges, settings), settings, false));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(ModelFile& model) {
  return with_context([&] { return model.path().string(); },
                      [&] {
                        if (model.format() == ModelFormat::kGguf) {
                          return std::make_unique<Tokenizer>(read_gguf_tokenizer(model.metadata()));
                        }
                        return read_directory([&](std::string_view name) { return model.side_file(name, kMaxFile); },
                                              model.config());
                      });
}

std::unique_ptr<Tokenizer> load_tokenizer_directory(const std::filesystem::path& directory) {
  return with_context([&] { return directory.string(); },
                      [&] {
                        return read_directory(
                            [&](std::string_view name) { return read_file(directory / name, kMaxFile); },
                            nlohmann::json());
                      });
}

std::unique_ptr<Tokenizer> load_tokenizer_file(const std::filesystem::path& file) {
  if (file.extension() == ".gguf") return load_tokenizer(*open_model(file));
  const auto bytes = read_file(file, kMaxFile);
  if (!bytes) throw Error(ErrorKind::kInput, fmt::format("{}: no such file", file.string()));
  return with_context([&] { return file.string(); },
                      [&] {
                        const HuggingFaceSettings none;
                        return std::make_unique<Tokenizer>(
                            file.extension() == ".json" ? read_json(*bytes, none) : read_tokenizer_model(*bytes, none));
                      });
}

}  // namespace jericho
