// jericho: one program for language models that must fit the memory there is. Parses the command line, runs the verb it
// names, turns errors into one sentence on stderr and an exit code: 0 done, 1 failed, 2 wrong usage, 3 does not fit the
// budget, 130 interrupted.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <new>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "cli/interrupts.h"
#include "cli/verbs.h"
#include "memory/process_memory.h"

namespace {

// A standard stream that the caller closed would be the number of the next file opened: the model, read as the prompt.
void open_standard_streams() {
  int fd = 0;
  while (fd >= 0 && fd <= 2) fd = open("/dev/null", O_RDWR);
  if (fd > 2) close(fd);
}

constexpr int kUsageCode = jericho::exit_code(jericho::ErrorKind::kUsage);

int run(int argc, char** argv) {
  CLI::App app("Runs language models inside the memory you have.", "jericho");
  app.set_version_flag("--version", "jericho " JERICHO_VERSION);
  app.require_subcommand(1);
  app.footer("jericho VERB --help tells the flags of a verb. MODEL is a .gguf file or a Hugging Face directory.");
  jericho::cli::Run chosen;
  for (const auto add : {jericho::cli::add_run, jericho::cli::add_chat, jericho::cli::add_eval,
                         jericho::cli::add_logits, jericho::cli::add_tokenize, jericho::cli::add_train_tokenizer,
                         jericho::cli::add_convert, jericho::cli::add_diff, jericho::cli::add_inspect,
                         jericho::cli::add_train, jericho::cli::add_audit, jericho::cli::add_bench}) {
    add(app, chosen);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    fmt::print(stderr, "error: {}; jericho --help and jericho VERB --help tell what there is\n", error.what());
    return kUsageCode;
  }
  const jericho::cli::Interrupts interrupts;
  const int code = chosen(interrupts.token());
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw jericho::Error(jericho::ErrorKind::kIo, "standard output could not be written whole; is the disk full?");
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_streams();
  jericho::flush_subnormals();
  jericho::tame_allocator();
  try {
    return run(argc, argv);
  } catch (const jericho::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return jericho::exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr,
               "error: the system has no memory left for small allocations; give a larger --memory or free some\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
  }
  return 1;
}
