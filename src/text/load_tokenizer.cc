// Which file is read when several are there. Start at read_hugging_face_tokenizer().
#include "text/load_tokenizer.h"

#include <algorithm>
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

// What the settings say about tokens that the model's own file has too.
void apply_added_tokens(const HuggingFaceSettings& settings, TokenizerParts& parts) {
  for (AddedToken& token : parts.added) {
    const auto same = [&](const AddedToken& other) { return other.id == token.id && other.text == token.text; };
    const auto found = std::find_if(settings.added.begin(), settings.added.end(), same);
    if (found == settings.added.end()) continue;
    token.lstrip = found->lstrip;
    token.rstrip = found->rstrip;
    token.single_word = found->single_word;
  }
}

TokenizerParts read_tokenizer_model(std::string_view bytes, const HuggingFaceSettings& settings) {
  if (!looks_like_sentencepiece_model(bytes)) return with_settings(read_tiktoken(bytes, settings), settings, true);
  const auto prefix = settings.legacy.value_or(true) ? SpacePrefix::kAfterSpecialTokens : SpacePrefix::kAtStart;
  TokenizerParts parts = with_settings(read_sentencepiece_model(bytes, prefix), settings, true);
  apply_added_tokens(settings, parts);
  return parts;
}

TokenizerParts read_json(std::string_view text, const HuggingFaceSettings& settings) {
  TokenizerParts parts = read_tokenizer_json(text);
  apply_special_ids(settings, parts);  // BOS and EOS are put where the file's post_processor says
  return parts;
}

}  // namespace

TokenizerParts read_hugging_face_tokenizer(const SideFiles& files, const nlohmann::json& config) {
  const HuggingFaceSettings settings = read_hugging_face_settings(files, config);
  const auto read = [&](const char* name, auto reader) -> std::optional<TokenizerParts> {
    const std::optional<std::string> text = files(name);
    if (!text) return std::nullopt;
    return with_context([&] { return std::string(name); }, [&] { return reader(*text, settings); });
  };
  if (auto parts = read("tokenizer.json", read_json)) return std::move(*parts);
  if (auto parts = read("tokenizer.model", read_tokenizer_model)) return std::move(*parts);
  const auto vocab = files("vocab.json");
  const auto merges = files("merges.txt");
  if (!vocab || !merges) {
    throw Error(ErrorKind::kInput,
                "no tokenizer: looked for tokenizer.json, tokenizer.model, and vocab.json with merges.txt; give ids "
                "with --tokens");
  }
  return with_settings(read_vocab_merges(*vocab, *merges, settings), settings, false);
}

std::unique_ptr<Tokenizer> load_tokenizer(ModelFile& model) {
  return with_context(
      [&] { return model.path().string(); },
      [&] {
        if (model.format() == ModelFormat::kGguf) {
          return std::make_unique<Tokenizer>(read_gguf_tokenizer(model.metadata()));
        }
        return std::make_unique<Tokenizer>(read_hugging_face_tokenizer(
            [&](std::string_view name) { return model.side_file(name, kMaxTokenizerFile); }, model.config()));
      });
}

std::unique_ptr<Tokenizer> load_tokenizer_directory(const std::filesystem::path& directory) {
  return with_context(
      [&] { return directory.string(); },
      [&] {
        return std::make_unique<Tokenizer>(read_hugging_face_tokenizer(
            [&](std::string_view name) { return read_file(directory / name, kMaxTokenizerFile); }, nlohmann::json()));
      });
}

std::unique_ptr<Tokenizer> load_tokenizer_file(const std::filesystem::path& file) {
  if (file.extension() == ".gguf") return load_tokenizer(*open_model(file));
  const auto bytes = read_file(file, kMaxTokenizerFile);
  if (!bytes) throw Error(ErrorKind::kInput, fmt::format("{}: no such file", file.string()));
  return with_context([&] { return file.string(); },
                      [&] {
                        const HuggingFaceSettings none;
                        return std::make_unique<Tokenizer>(
                            file.extension() == ".json" ? read_json(*bytes, none) : read_tokenizer_model(*bytes, none));
                      });
}

}  // namespace jericho
