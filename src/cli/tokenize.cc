// jericho tokenize: text to ids and back. Works on a vocabulary-only GGUF and on a directory without weights.
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/read_text.h"
#include "cli/token_list.h"
#include "cli/verbs.h"
#include "formats/model_file.h"
#include "text/load_tokenizer.h"

namespace jericho::cli {
namespace {

struct TokenizeOptions {
  std::string model = "builtin";
  std::string text{};
  std::string decode{};
  bool has_text = false;
  bool ids_only = false;
  bool no_bos = false;
  bool json = false;
};

std::unique_ptr<Tokenizer> tokenizer_of(const std::string& path) {
  if (std::filesystem::is_directory(path)) return load_tokenizer_directory(path);
  const std::string file = std::filesystem::path(path).filename();
  const bool alone =
      file.ends_with(".json") || file.find(".model") != std::string::npos;  // Mistral: tokenizer.model.v3
  return alone ? load_tokenizer_file(path) : load_tokenizer(*open_model(path));
}

std::string printable(const std::string& bytes) {
  return nlohmann::json(bytes).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

int tokenize(const TokenizeOptions& options, const std::stop_token& stop) {
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(options.model);
  if (!options.decode.empty()) {
    const std::vector<TokenId> ids = parse_token_list("--decode", options.decode);
    require_in_vocabulary("--decode", ids, tokenizer->size());
    fmt::print("{}\n", tokenizer->decode(ids));
    return 0;
  }
  const std::string text = options.has_text ? options.text : read_standard_input(stop);
  const std::vector<TokenId> ids = tokenizer->encode(text, {.add_bos = !options.no_bos});
  if (options.json) {
    nlohmann::json tokens = nlohmann::json::array();
    for (const TokenId id : ids) tokens.push_back({{"id", id}, {"piece", tokenizer->piece(id)}});
    fmt::print("{}\n", tokens.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else if (options.ids_only) {
    fmt::print("{}\n", fmt::join(ids, " "));
  } else {
    for (const TokenId id : ids) fmt::print("{:>7}  {}\n", id, printable(tokenizer->piece(id)));
  }
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand("tokenize", "Show the tokens of a text, or the text of token ids");
  auto options = std::make_shared<TokenizeOptions>();
  verb->add_option("-m,--model", options->model,
                   "MODEL, or a tokenizer alone: a vocabulary .gguf, tokenizer.json, tokenizer.model")
      ->capture_default_str();
  CLI::Option* text = verb->add_option("text", options->text, "TEXT, after --; standard input when absent");
  verb->add_option("--decode", options->decode, "Token ids to turn into text: 1,2,3")->excludes(text);
  verb->add_flag("--ids", options->ids_only, "Print only the ids, separated by spaces");
  verb->add_flag("--no-bos", options->no_bos, "Add no beginning- or end-of-sequence token");
  verb->add_flag("--json", options->json, "Print [{id, piece}]");
  verb->callback([options, text, &chosen] {
    options->has_text = text->count() > 0;
    chosen = [options](const std::stop_token& stop) { return tokenize(*options, stop); };
  });
}

}  // namespace jericho::cli
