// jericho train-tokenizer: learns a vocabulary from text files and writes the tokenizer files of a Hugging Face
// directory.
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "cli/write_file.h"
#include "convert/tokenizer_to_hugging_face.h"
#include "memory/available.h"
#include "memory/budget.h"
#include "text/load_tokenizer.h"
#include "text/trained_tokenizer.h"

namespace jericho::cli {
namespace {

namespace fs = std::filesystem;

struct TrainTokenizerOptions {
  std::vector<std::string> files{};
  std::string out{};
  std::string kind = "byte-level";
  std::string memory = "auto";
  TokenizerRecipe recipe{};
  BpeTrainer::Options training{};
  bool json = false;
};

constexpr std::size_t kReadAtOnce = std::size_t{1} << 20;

// Gives the text of a file to `add` in parts that end behind a line, so that no piece is cut but in a line beyond 1
// MiB.
void read_lines(const std::string& path, const std::function<void(std::string_view)>& add) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::kInput, fmt::format("{}: cannot be read; expected a text file", path));
  std::string text;
  while (file) {
    const std::size_t kept = text.size();
    text.resize(kept + kReadAtOnce);
    file.read(text.data() + kept, static_cast<std::streamsize>(kReadAtOnce));
    text.resize(kept + static_cast<std::size_t>(file.gcount()));
    const std::size_t newline = text.rfind('\n');
    const std::size_t whole = !file || newline == std::string::npos ? text.size() : newline + 1;
    add(std::string_view(text).substr(0, whole));
    text.erase(0, whole);
  }
  if (file.bad()) throw Error(ErrorKind::kIo, fmt::format("{}: reading failed", path));
}

BpeTrainer count_pieces(const TrainTokenizerOptions& options, const std::stop_token& stop) {
  const AvailableMemory memory = available_memory();
  const Bytes budget =
      parse_budget(options.memory, {.ram_total = memory.total, .ram_available = memory.available}, {}).ram;
  BpeTrainer trainer = options.recipe.trainer();
  Index total = 0, done = 0;
  for (const std::string& path : options.files) {
    std::error_code error;
    const auto size = fs::file_size(path, error);
    if (error) throw Error(ErrorKind::kInput, fmt::format("{}: {}; expected a text file", path, error.message()));
    total += static_cast<Index>(size);
  }
  Progress progress("counting");
  for (const std::string& path : options.files) {
    read_lines(path, [&](std::string_view text) {
      if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted while text was counted");
      trainer.add(text);
      constexpr std::int64_t kWithMerging = 5;  // the counts and what train() takes
      const Bytes needed{kWithMerging * trainer.memory_bytes().count};
      if (needed > budget) {
        throw Error(
            ErrorKind::kBudget,
            fmt::format("{}: {} different pieces of text so far take about {} to learn from, the budget is {}; give "
                        "more with --memory or less text",
                        path, trainer.pieces(), format_bytes(needed), format_bytes(budget)));
      }
      done += std::ssize(text);
      progress.update(done, total);
    });
  }
  return trainer;
}

int train_tokenizer(TrainTokenizerOptions options, const std::stop_token& stop) {
  if (options.kind == "sentencepiece") {
    options.recipe.kind = TokenizerRecipe::Kind::kSentencePiece;
  } else if (options.kind != "byte-level") {
    throw Error(ErrorKind::kUsage, fmt::format("--kind {}: expected byte-level or sentencepiece", options.kind));
  }
  if (options.training.coverage <= 0 || options.training.coverage > 1)
    throw Error(ErrorKind::kUsage,
                fmt::format("--coverage {}: expected more than 0, at most 1", options.training.coverage));
  options.recipe.validate();
  if (fs::exists(options.out) && !fs::is_directory(options.out))
    throw Error(ErrorKind::kUsage, fmt::format("-o {}: expected a folder", options.out));
  const BpeTrainer trainer = count_pieces(options, stop);
  options.training.symbols = options.recipe.symbols();
  TrainedMerges trained;
  {
    Progress progress("merging");
    trained = trainer.train(options.training, stop, [&](Index done, Index total) { progress.update(done, total); });
  }
  const std::vector<SideFile> files = hugging_face_tokenizer(tokenizer_metadata(options.recipe, trained));
  fs::create_directories(options.out);
  for (const SideFile& file : files) write_file_atomically(fs::path(options.out) / file.name, file.bytes);

  const auto size = static_cast<Index>(load_tokenizer_directory(options.out)->size());
  if (options.json) {
    fmt::print("{}\n",
               nlohmann::json{{"folder", options.out}, {"vocabulary", size}, {"merges", trained.merges.size()}}.dump());
  } else {
    fmt::print("{}: {} tokens, {} merges of {} different pieces of text\n", options.out, size, trained.merges.size(),
               trainer.pieces());
    if (size < options.recipe.vocabulary)
      fmt::print(stderr, "note: the text has no more pairs that are seen {} times; {} tokens were asked for\n",
                 options.training.least, options.recipe.vocabulary);
  }
  return 0;
}

}  // namespace

void add_train_tokenizer(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand("train-tokenizer", "Learn a vocabulary from text files");
  auto options = std::make_shared<TrainTokenizerOptions>();
  verb->add_option("files", options->files, "FILES of text, UTF-8")->required();
  verb->add_option("-o,--output", options->out, "FOLDER for tokenizer.json or tokenizer.model and the settings")
      ->required();
  verb->add_option("--vocab", options->recipe.vocabulary, "Tokens in all")->capture_default_str();
  verb->add_option("--kind", options->kind,
                   "byte-level: over bytes; sentencepiece: over characters, bytes for rare ones")
      ->capture_default_str();
  verb->add_option("--pre", options->recipe.cuts,
                   "byte-level: how text is cut first, by the name that a GGUF has for it")
      ->capture_default_str();
  verb->add_option("--bos", options->recipe.bos, "TEXT of the token before a text")->capture_default_str();
  verb->add_option("--eos", options->recipe.eos, "TEXT of the token behind it; may be the same")->capture_default_str();
  verb->add_option("--special", options->recipe.special, "TEXT of another control token; may be given again");
  verb->add_option("--least", options->training.least, "Pairs that are seen less often are not merged")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--coverage", options->training.coverage,
                   "sentencepiece: share of the text's characters with tokens")
      ->capture_default_str();
  verb->add_option("--memory", options->memory, "Most memory that learning may take, about")
      ->envname("JERICHO_MEMORY")
      ->capture_default_str();
  verb->add_flag("--json", options->json, "Print one object instead of text");
  verb->callback([options, &chosen] {
    chosen = [options](const std::stop_token& stop) { return train_tokenizer(*options, stop); };
  });
}

}  // namespace jericho::cli
