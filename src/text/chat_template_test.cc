// Each construct of the Jinja subset against what Jinja2 gives, what is refused and where, and the limits. Whole
// templates of models: chat_template_models_test.cc.
#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "text/chat_template_fuzz.h"
#include "text/test_files.h"

namespace jericho {
namespace {

using testing::HasSubstr;

ChatInput small_input() {
  ChatInput input;
  input.messages = {{"user", "Hi", ""}, {"assistant", "Hello!", R"({"tool_calls":[]})"}};
  input.variables = R"({"s": "Hello World", "l": [3, 1, 2], "n": 7, "d": {"b": 1, "a": [1, 2.0, "é<"], "items": 3}})";
  return input;
}

std::string render(std::string_view source) { return ChatTemplate::parse(source).render(small_input()); }

ErrorKind refusal(std::string_view source, std::string& message, const RenderLimits& limits = {}) {
  try {
    (void)ChatTemplate::parse(source).render(small_input(), limits);
  } catch (const Error& error) {
    message = error.what();
    return error.kind();
  }
  message = "nothing was refused";
  return ErrorKind::kInterrupted;
}

struct Case {
  const char* source;
  const char* expected;
};

void expect_all(std::initializer_list<Case> cases) {
  for (const Case& each : cases) EXPECT_EQ(render(each.source), each.expected) << each.source;
}

TEST(ChatTemplate, RemovesWhiteSpaceAsTransformersDoes) {
  expect_all({{"{% for m in messages %}\n{{ m.role }}\n{% endfor %}\nx", "user\nassistant\nx"},
              {"a\n  {% if true %}b{% endif %}\n c", "a\nb c"},
              {"a\n  {%+ if true %}b{% endif +%}\nc", "a\n  b\nc"},
              {"a \n {%- if true -%} \n b {%- endif -%} \n c", "abc"},
              {"a\n  {# c #}\nb", "a\nb"},
              {" {{ 1 }} \n", " 1 "},
              {"a {{- 1 -}} b", "a1b"},
              {"a\r\nb\r", "a\nb"},
              {"{% raw %} {{ x }} {% endraw %}\nb", " {{ x }} b"}});
}

TEST(ChatTemplate, ComputesAsPython) {
  expect_all({{"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ -2 ** 2 }}", "3 -4 2 3.5 1024 4"},
              {"{{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 0.00001 }}", "1.0 1e+16 1000000000000000.0 1e-05"},
              {"{{ 'a' ~ 2 * 3 ~ none ~ true }}", "a6NoneTrue"},
              {"{{ '%02d|%5s|%-3s|%.2f|%%' % (n, 'a', 'b', 2.5) }}", "07|    a|b  |2.50|%"},
              {"{{ 1 < 2 < 3 }} {{ 1 in l and 5 not in l }} {{ 'ell' in s }} {{ 'b' in d }}", "True True True True"},
              {"{{ '' or 'x' }}{{ 0 and 1 }}{{ 'y' if n == 7 else 'z' }}{{ 'q' if false }}", "x0y"},
              {"{{ s[0] }}{{ s[-1] }}{{ s[1:3] }}{{ s[::-1] }}{{ 'éà'[1] }}{{ l[5] }}", "HdeldlroW olleHà"},
              {"{{ (1,) }} {{ {'a': [none, \"it's\"]} }}", "(1,) {'a': [None, \"it's\"]}"},
              {"{{ x is defined and x }} {{ nope }}{{ nope ~ 1 }}", "False 1"},
              {"{{ 'a\\n\\x41\\u00e9\\q' }}", "a\nAé\\q"},
              {"{{ d.a[2] }} {{ d['items'] }} {{ d.items()|length }} {{ d.get('z', 4) }}", "é< 3 3 4"}});
}

TEST(ChatTemplate, ScopesAsJinja) {
  expect_all(
      {{"{% set v = 1 %}{% for i in l %}{% set v = v + i %}{{ v }} {% endfor %}{{ v }}", "4 2 3 1"},
       {"{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3"},
       {"{% if true %}{% set v = 2 %}{% endif %}{{ v }}", "2"},
       {"{% with a = 1 %}{{ a }}{% endwith %}{{ a is defined }}", "1False"},
       {"{% macro m(a, b=2) %}[{{ a }}{{ b }}{{ q }}]{% endmacro %}{% set q = 5 %}{{ m(1) }}{{ m(b=3) }}", "[125][35]"},
       {"{% macro t(k) %}{{ k }}{% if k %}{{ t(k - 1) }}{% endif %}{% endmacro %}{{ t(3) }}", "3210"},
       {"{% set x %} a{{ n }} {% endset %}[{{ x }}]{% set y | trim %} b {% endset %}{{ y }}", "[ a7 ]b"},
       {"{% filter upper %}ab{{ s }}{% endfilter %}{% generation %}g{% endgeneration %}", "ABHELLO WORLDg"},
       {"{% set a, b = 1, 2 %}{{ a }}{{ b }}{% for k, v in {'x': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "12x1"}});
}

TEST(ChatTemplate, LoopsKnowWhereTheyAre) {
  expect_all(
      {{"{% for i in l if i != 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.nextitem }} {% endfor %}",
        "1/2True2 2/2False "},
       {"{% for i in l %}{{ loop.previtem is defined }}{{ loop.revindex0 }}{{ loop.cycle('a', 'b') }} {% endfor %}",
        "False2a True1b True0a "},
       {"{% for i in [] %}x{% else %}none{% endfor %}", "none"},
       {"{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% "
        "endfor %}",
        "02"},
       {"{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{% set j = joiner() %}{{ j() }}{{ j() }}",
        "121, "}});
}

TEST(ChatTemplate, FiltersAsJinja) {
  expect_all({{"{{ {'a': [1, 2.0, 'é<']} | tojson }}", "{\"a\": [1, 2.0, \"é<\"]}"},
              {"{{ d | tojson }}", "{\"b\": 1, \"a\": [1, 2.0, \"é<\"], \"items\": 3}"},
              {"{{ {'b': [], 'a': 1} | tojson(indent=2, sort_keys=true) }}", "{\n  \"a\": 1,\n  \"b\": []\n}"},
              {"{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(',') }}", "Hi"},
              {"{{ l | reject('gt', 1) | list }}{{ l | sort }}{{ l | max }}{{ l | sum }}{{ ['b', 'A'] | sort }}",
               "[1][1, 2, 3]36['A', 'b']"},
              {"{{ 'a b' | title }}{{ ' x ' | trim }}{{ 'aa' | replace('a', 'b', 1) }}{{ 'a\nb' | indent }}",
               "A Bxbaa\n    b"},
              {"{{ nope | default('d') }}{{ '' | default('e', true) }}{{ '3.7' | int }}{{ 2.5 | round }}{{ '<' | e }}",
               "de32.0&lt;"},
              {"{{ d | dictsort | first }}{{ [1, 1, 2] | unique | list }}{{ l | batch(2) | list }}",
               "('a', [1, 2.0, 'é<'])[1, 2][[3, 1], [2]]"},
              {"{{ '{\"z\": 1, \"a\": 2}' | from_json }}", "{'z': 1, 'a': 2}"}});
}

TEST(ChatTemplate, MethodsAsPython) {
  expect_all(
      {{"{{ 'a,b,,'.split(',') | length }}{{ ' a  b '.split() }}{{ 'a-b-c'.rsplit('-', 1) }}",
        "4['a', 'b']['a-b', 'c']"},
       {"{{ 'xax'.strip('x') }}{{ s.startswith('He') }}{{ s.endswith(('z', 'd')) }}{{ s.find('o') }}", "aTrueTrue4"},
       {"{% set q = [1] %}{% set _ = q.append(2) %}{{ q }}{{ q.pop() }}{{ q }}", "[1, 2]2[1]"},
       {"{% set e = dict(a=1) %}{% set _ = e.update({'b': 2}) %}{{ e }}{{ e.keys() | list }}",
        "{'a': 1, 'b': 2}['a', 'b']"},
       {"{{ '{} {x}'.format(1, x=2) }}{{ ','.join(['a', 'b']) }}", "1 2a,b"}});
}

TEST(ChatTemplate, TestsAsJinja) {
  EXPECT_EQ(
      render(
          "{{ tools is defined }}{{ tools is none }}{{ bos_token is defined }}{{ messages[0].tool_calls is defined }}"),
      "TrueTrueFalseFalse");
  EXPECT_EQ(render("{{ s is string }}{{ s is iterable }}{{ d is mapping }}{{ l is sequence }}{{ 1 is true }}{{ n is "
                   "iterable }}"),
            "TrueTrueTrueTrueFalseFalse");
  EXPECT_EQ(render("{{ n is not odd }}{{ 9 is divisibleby 3 }}{{ 1 is in [1] }}{{ range is callable }}"),
            "FalseTrueTrueTrue");
}

TEST(ChatTemplate, TakesTheTimeFromItsInput) {
  ChatInput input;
  input.now.tm_year = 125;
  input.now.tm_mon = 2;
  input.now.tm_mday = 7;
  EXPECT_EQ(ChatTemplate::parse("{{ strftime_now('%d %b %Y') }}").render(input), "07 Mar 2025");
}

TEST(ChatTemplate, RaisesItsOwnMessage) {
  std::string message;
  EXPECT_EQ(refusal("{{ raise_exception('no <way>') }}", message), ErrorKind::kInput);
  EXPECT_EQ(message, "no <way>");
}

TEST(ChatTemplate, RefusesTheUnknownByNameAndPlace) {
  for (const auto& [source, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"a\n {{ 1 | frob }}", "line 2, column 9: unknown filter 'frob'"},
           {"{% if 1 is frob %}{% endif %}", "line 1, column 12: unknown test 'frob'"},
           {"{% include 'x' %}", "line 1, column 4: unknown statement 'include'"},
           {"{{ frob(1) }}", "line 1, column 4: unknown function 'frob'"},
           {"{{ s.frob() }}", "unknown method 'frob'"},
           {"{{ l | map('frob') }}", "unknown filter 'frob'"},
           {"{% for i in l recursive %}{% endfor %}", "recursive"},
           {"{% macro m() %}{{ caller() }}{% endmacro %}", "'caller'"},
           {"{{ strftime_now('%Q') }}", "'%Q'"}}) {
    std::string message;
    EXPECT_EQ(refusal(source, message), ErrorKind::kUnsupported) << source;
    EXPECT_THAT(message, HasSubstr(text)) << source;
  }
}

TEST(ChatTemplate, RefusesWhatIsNoJinja) {
  for (const char* source : {"{{ 1", "{% if 1 %}", "{% endif %}", "{{ [1 }}", "{{ 'a }}", "{# a", "{% raw %}",
                             "{{ 1 2 }}", "{% set 1 = 2 %}", "{% break %}", "{{ }}", "{% for in l %}{% endfor %}",
                             "{{ a.b.1x }}", "{{ f(a=1, 2) }}", "{{ 1 is defined is true }}"}) {
    std::string message;
    EXPECT_NE(refusal(source, message), ErrorKind::kInterrupted) << source;
    EXPECT_THAT(message, HasSubstr("line 1, column ")) << source;
  }
}

TEST(ChatTemplate, RefusesWhatPythonRefuses) {
  for (const char* source :
       {"{{ nope.x }}", "{{ nope[0] }}", "{{ nope + 'x' }}", "{{ 'x' + 1 }}", "{{ 1 < 'a' }}", "{{ 1 // 0 }}",
        "{{ none | length }}", "{{ {[]: 1} }}", "{% set d.x = 1 %}", "{% set a, b = [1] %}", "{{ s(1) }}",
        "{{ nope | tojson }}", "{{ 5 | upper(1) }}", "{% for i in 5 %}{% endfor %}", "{{ [1, 'a'] | sort }}"}) {
    std::string message;
    EXPECT_EQ(refusal(source, message), ErrorKind::kInput) << source << ": " << message;
  }
}

TEST(ChatTemplate, KeepsItsLimits) {
  std::string message;
  const char* writes = "{% for i in range(1000) %}{{ 'x' * 1000 }}{% endfor %}";
  EXPECT_EQ(refusal(writes, message, {.output = 1_KiB}), ErrorKind::kInput);
  EXPECT_THAT(message, HasSubstr("writes more than"));
  EXPECT_EQ(refusal(writes, message, {.steps = 100}), ErrorKind::kInput);
  EXPECT_THAT(message, HasSubstr("steps"));
  refusal("{{ 'x' * 100000 }}", message, {.memory = 10_KiB});
  EXPECT_THAT(message, HasSubstr("too long"));
  refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", message);
  EXPECT_THAT(message, HasSubstr("levels"));
  EXPECT_THROW(ChatTemplate::parse(std::string(2 << 20, 'x')), Error);
}

TEST(ChatTemplate, CorpusIsJudgedByName) {
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(text_fixture("corpus/chat_template_fuzz"))) {
    const std::string source = read_text(entry.path());
    const std::string name = entry.path().filename().string();
    std::string message;
    EXPECT_EQ(refusal(source, message) == ErrorKind::kInterrupted, name.starts_with("good")) << name << ": " << message;
    for (std::size_t size = 0; size < source.size(); ++size) fuzz::chat_template(source.substr(0, size));
    ++inputs;
  }
  EXPECT_GT(inputs, 10);
}

}  // namespace
}  // namespace jericho
