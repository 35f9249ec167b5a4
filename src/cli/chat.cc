// jericho chat: a conversation with a model, in the form its chat template gives it. Each turn is a request of its own:
// what goes wrong with it is said, and the conversation goes on. Start at Chat::run().
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/chat_commands.h"
#include "cli/conversation.h"
#include "cli/generate.h"
#include "cli/input_history.h"
#include "cli/kept_sequence.h"
#include "cli/message_reader.h"
#include "cli/printer.h"
#include "cli/progress.h"
#include "cli/sampling_flags.h"
#include "cli/speeds.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "cli/workspace.h"
#include "cli/write_file.h"
#include "formats/input_file.h"

namespace jericho::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Bytes kLargestSaved = 64_MiB;

struct ChatOptions {
  WorkspaceOptions workspace{};
  SamplingFlags sampling{};
  GenerateOptions generate{};  // of each answer
  std::string system{};
  std::optional<std::string> template_file{};
  bool verbose = false;
};

ChatTemplate chat_template(const ChatOptions& options, const ModelFile& file) {
  if (options.template_file) {
    return with_context([&] { return "--template " + *options.template_file; },
                        [&] { return ChatTemplate::parse(read_whole_file(*options.template_file, kMaxTemplate)); });
  }
  const std::string& model = options.workspace.model;
  return with_context([&] { return model; },
                      [&] {
                        if (const auto source = find_chat_template(file)) return ChatTemplate::parse(*source);
                        const bool gguf = file.format() == ModelFormat::kGguf;
                        throw Error(
                            ErrorKind::kInput,
                            fmt::format("has no chat template: expected {}; give one with --template FILE, or continue "
                                        "texts with jericho run",
                                        gguf ? "tokenizer.chat_template in its metadata"
                                             : "chat_template.jinja, chat_template.json or chat_template in "
                                               "tokenizer_config.json"));
                      });
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

double per_second(Index tokens, double seconds) { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }

class Chat {  // one thread; workspace and reader outlive it
 public:
  Chat(const ChatOptions& options, const SamplingOptions& sampling, const ChatTemplate& form, Workspace& workspace,
       MessageReader& reader)
      : options_(options),
        sampling_(sampling),
        workspace_(workspace),
        reader_(reader),
        conversation_(form, workspace.tokenizer()),
        sequence_(workspace.session()) {
    conversation_.set_system(options.system);
  }

  // Until the input ends: the exit code.
  int run(const std::stop_token& stop);

 private:
  enum class Next { kGoOn, kQuit };

  Next obey(const ChatLine& line, const std::stop_token& stop);
  void turn(const std::string& text, const std::stop_token& stop);
  void remark(const Generated& generated, const KeptSequence::Reading& reading, Index read, double read_seconds) const;
  void show_memory() const;
  void load(const std::string& path);

  const ChatOptions& options_;
  const SamplingOptions& sampling_;
  Workspace& workspace_;
  MessageReader& reader_;
  Conversation conversation_;
  KeptSequence sequence_;
};

int Chat::run(const std::stop_token& stop) {
  bool good = true;
  while (true) {
    const TypedMessage typed = reader_.read(stop);
    if (typed.kind == TypedMessage::Kind::kInterrupted) return exit_code(ErrorKind::kInterrupted);
    if (typed.kind == TypedMessage::Kind::kEnd) break;
    try {
      if (typed.kind == TypedMessage::Kind::kRefused) throw Error(ErrorKind::kInput, typed.text);
      if (obey(parse_chat_line(typed.text), stop) == Next::kQuit) break;
    } catch (const Error& error) {
      if (stop.stop_requested()) throw;
      if (error.kind() == ErrorKind::kInterrupted) {
        fmt::print(stderr, "(stopped; the message is taken back)\n");
      } else {
        fmt::print(stderr, "error: {}\n", error.what());
        good = false;
      }
    }
  }
  return good || isatty(STDIN_FILENO) == 1 ? 0 : 1;  // scripts look at it; a person has seen the message
}

Chat::Next Chat::obey(const ChatLine& line, const std::stop_token& stop) {
  switch (line.command) {
    case ChatCommand::kNothing: break;
    case ChatCommand::kMessage: turn(line.argument, stop); break;
    case ChatCommand::kReset:
      conversation_.restart();
      fmt::print(stderr, "(the conversation starts anew)\n");
      break;
    case ChatCommand::kSystem:
      conversation_.set_system(line.argument);
      fmt::print(stderr, "(system message {}; the conversation starts anew)\n",
                 line.argument.empty() ? "removed" : "set");
      break;
    case ChatCommand::kMemory: show_memory(); break;
    case ChatCommand::kSave:
      write_file_atomically(line.argument, conversation_.to_json());
      fmt::print(stderr, "({} messages saved to {})\n", conversation_.messages().size(), line.argument);
      break;
    case ChatCommand::kLoad: load(line.argument); break;
    case ChatCommand::kHelp: fmt::print(stderr, "{}", chat_help()); break;
    case ChatCommand::kQuit: return Next::kQuit;
  }
  return Next::kGoOn;
}

void Chat::turn(const std::string& text, const std::stop_token& stop) {
  const std::vector<TokenId> prompt = conversation_.prompt(text, local_time());
  const auto tokens = static_cast<Index>(prompt.size());
  const Index context = workspace_.session().context();
  if (tokens >= context) {
    throw Error(ErrorKind::kInput,
                fmt::format("with this message the conversation has {} tokens, which leaves no room for an answer in "
                            "the context of {}: shorten it, start anew with /reset, or give more with -c",
                            tokens, context));
  }
  std::stop_source answer;
  const std::stop_callback with_the_program(stop, [&] { answer.request_stop(); });
  const auto listen = [&] {
    if (reader_.interrupted()) answer.request_stop();
  };
  const auto start = Clock::now();
  KeptSequence::Reading reading;
  {
    Progress progress("reading");
    reading = sequence_.read(prompt, answer.get_token(), [&](Index done, Index total) {
      listen();
      progress.update(done, total);
    });
  }
  const double read_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  Sampler sampler = make_sampler(sampling_, workspace_);
  sampler.accept_prompt(prompt);
  Printer printer(workspace_.tokenizer(), {});
  const Generated generated = generate(workspace_, sequence_.id(), reading.logits, sampler, options_.generate,
                                       answer.get_token(), [&](TokenId token) {
                                         printer.push(token);
                                         listen();
                                       });
  sequence_.note(generated.ids);
  printer.finish();
  if (generated.ids.empty() && generated.stopped_by.empty())
    throw Error(ErrorKind::kInterrupted, "interrupted before the answer began");
  conversation_.add_turn(text, printer.text());
  remark(generated, reading, tokens, read_seconds);
}

void Chat::remark(const Generated& generated, const KeptSequence::Reading& reading, Index read,
                  double read_seconds) const {
  if (generated.stopped_by.empty()) fmt::print(stderr, "(stopped)\n");
  if (generated.stopped_by == "length")
    fmt::print(stderr, "(stopped after {} tokens, as -n says)\n", generated.ids.size());
  if (generated.stopped_by == "context") {
    fmt::print(stderr, "(stopped: the context of {} tokens is full; /reset starts anew, a larger -c gives more)\n",
               workspace_.session().context());
  }
  if (!options_.verbose && isatty(STDERR_FILENO) != 1) return;
  const Index anew = read - reading.kept;
  const Index written = std::ssize(generated.ids);
  const Speeds speeds(workspace_.threads(), workspace_.context().kernels.path);
  const double read_speed = per_second(anew, read_seconds);
  const double written_speed = per_second(written, generated.seconds);
  const Plan& plan = workspace_.plan();
  const auto beside = [](const std::optional<Held>& held) { return held ? " (" + of_roof(held) + ")" : ""; };
  const auto kept = static_cast<double>(reading.kept);
  const auto read_of =
      speeds.tokens(read_speed, prefill_cost(workspace_.weights(), plan, anew, plan.limits.rows, kept, 0));
  const auto written_of = speeds.tokens(
      written_speed,
      decode_cost(workspace_.weights(), plan, 1, static_cast<double>(read) + static_cast<double>(written) / 2));
  fmt::print(stderr, "[read {} tokens, {:.1f} tok/s{}, {} kept; wrote {}, {:.1f} tok/s{}; context {} of {}]\n", anew,
             read_speed, beside(read_of), reading.kept, written, written_speed, beside(written_of), sequence_.length(),
             workspace_.session().context());
}

void Chat::show_memory() const {
  const Plan& plan = workspace_.plan();
  fmt::print(stderr, "tier ram\n{}", workspace_.memory_report());
  fmt::print(stderr, "plan              context {}, chunk {}, {} pages of {}\n", plan.context, plan.limits.rows,
             plan.pages, format_bytes(plan.kv.page_bytes()));
  fmt::print(stderr, "context           {} of {} tokens, {} messages\n", sequence_.length(), plan.context,
             conversation_.messages().size());
}

void Chat::load(const std::string& path) {
  const std::string text = with_context([&] { return path; }, [&] { return read_whole_file(path, kLargestSaved); });
  conversation_.from_json(text, path);
  fmt::print(stderr, "({} messages loaded from {})\n", conversation_.messages().size(), path);
}

InputHistory history_of_the_user(bool typing) {
  const auto file = typing ? history_file() : std::nullopt;
  return file ? InputHistory(*file) : InputHistory();
}

InferenceWish wish(const SamplingOptions& sampling, const Workspace& workspace) {
  constexpr Index kShortConversation = 512;
  constexpr Bytes kTextBytes{256};  // of heap per token: messages, their copies in the template, the prompt, its ids
  const Sampler sampler = make_sampler(sampling, workspace);
  return {.context_needed = std::min(kShortConversation, workspace.config().max_position_embeddings),
          .heap_per_token = sampler.memory_bytes(1) - sampler.memory_bytes(0) + kTextBytes};
}

int chat(const ChatOptions& options, const std::stop_token& stop) {
  options.generate.validate();
  Workspace workspace(options.workspace, NeedsTokenizer::kYes);
  const ChatTemplate form = chat_template(options, workspace.file());
  const SamplingOptions sampling = options.sampling.options(workspace.file());
  sampling.validate();
  validate(InferenceWish{.context = options.workspace.context}, workspace.config());
  const bool typing = can_edit_lines();
  InputHistory history = history_of_the_user(typing);
  workspace.plan_and_load(wish(sampling, workspace), make_sampler(sampling, workspace).memory_bytes(0), stop);
  // English has about 4 bytes a token: no more text is worth the memory of tokenizing it.
  const Bytes most{std::clamp<Index>(workspace.plan().context * 8, 4096, 4 << 20)};
  if (typing) {
    fmt::print(stderr, "{}: context of {} tokens, seed {}; /help tells the commands, Ctrl-D ends\n",
               options.workspace.model, workspace.plan().context, sampling.seed);
  }
  const auto reader = typing ? make_terminal_reader("> ", history, most) : make_line_reader(STDIN_FILENO, most);
  return Chat(options, sampling, form, workspace, *reader).run(stop);
}

}  // namespace

void add_chat(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand("chat", "Talk with a model");
  verb->footer(
      "On a terminal, lines are edited as in a shell and kept from one chat to the next. Otherwise each line of "
      "standard\n"
      "input is a message; the answers go to stdout, all else to stderr, and the exit code is 1 when something "
      "failed.\n\n" +
      chat_help());
  auto options = std::make_shared<ChatOptions>();
  options->workspace.add_model_flag(*verb);
  verb->add_option("--system", options->system, "TEXT of the system message");
  verb->add_option("--template", options->template_file, "FILE with a Jinja chat template [the model's own]");
  verb->add_option("-n,--predict", options->generate.predict,
                   "Tokens of an answer at most [until the model ends or the context is full]");
  options->workspace.add_flags(*verb);
  options->sampling.add_flags(*verb);
  verb->add_flag("--ignore-eos", options->generate.ignore_eos, "Go on after the model's end tokens");
  verb->add_flag("-v,--verbose", options->verbose, "Tell speeds after each answer, also when stderr is no terminal");
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return chat(*options, stop); }; });
}

}  // namespace jericho::cli
