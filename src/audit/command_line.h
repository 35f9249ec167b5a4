// Plans as commands to run: what an audit recommends can be pasted into a shell.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/index.h"
#include "kernels/kv_tile.h"

namespace jericho {

struct ModelSource {        // how the verbs are told which model
  std::string arguments{};  // "-m model.gguf", quoted for a shell
  bool has_text = false;    // weights and a tokenizer: run can continue a text; else only bench runs it
  std::string path{};       // quoted; of a file or folder
  int threads = 0;          // 0: not said
};

struct CommandWish {
  Index context = 0;
  Index batch = 1;
  KvTypes kv_type{};
  std::optional<Index> chunk{};
  std::optional<Bytes> budget{};
};

std::string quoted(const std::string& word);  // for a POSIX shell

// "jericho run ..." of one sequence with text, else "jericho bench ..."; empty for a model without arguments, which
// nothing here runs.
std::string command_line(const ModelSource& source, const CommandWish& wish);

}  // namespace jericho
