// The verbs of the command line. Each file of a verb adds its subcommand with its flags; the callback fills an options
// struct and calls the area that does the work. Returns the exit code, or throws Error.
#pragma once

#include <functional>
#include <stop_token>

namespace CLI {
class App;
}

namespace jericho::cli {

using Run = std::function<int(const std::stop_token& stop)>;

// Adds the verb to `app`; when the command line names it, `chosen` is set to what runs it.
void add_run(CLI::App& app, Run& chosen);
void add_chat(CLI::App& app, Run& chosen);
void add_eval(CLI::App& app, Run& chosen);
void add_logits(CLI::App& app, Run& chosen);
void add_tokenize(CLI::App& app, Run& chosen);
void add_train_tokenizer(CLI::App& app, Run& chosen);
void add_convert(CLI::App& app, Run& chosen);
void add_diff(CLI::App& app, Run& chosen);
void add_inspect(CLI::App& app, Run& chosen);
void add_audit(CLI::App& app, Run& chosen);
void add_bench(CLI::App& app, Run& chosen);
void add_train(CLI::App& app, Run& chosen);

}  // namespace jericho::cli
