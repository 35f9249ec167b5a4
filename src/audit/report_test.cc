// The three forms of a report: all of it is in each, and nothing from outside breaks out of its place.
#include "audit/report_html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "audit/report_json.h"
#include "audit/report_text.h"
#include "audit/svg_chart.h"
#include "audit/test_shapes.h"

namespace jericho {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

struct Whole {
  TestShape shape{llama3_8b(), DType::kQ4_0};
  AuditReport report{};

  Whole() {
    const DeviceList list = DeviceList::built_in();
    AuditRequest request{.model = "a<b>&\"'.json", .source = "config.json alone", .context = 8192, .batch = 4};
    request.command = {.arguments = "-m model.gguf", .has_text = true, .path = "model.gguf"};
    const Device device = list.named("rtx4090");
    const Planner planner = planner_for(shape.view(), device.memory);
    report.audit = make_audit(shape.view(), request, planner, device);
    for (const Scenario scenario : kScenarios)
      report.advice.push_back(advise(scenario, shape.view(), request, {}, planner, planner, device));
    for (const char* name : {"h100", "groq-lpu", "m1"})
      report.comparison.push_back(compare(shape.view(), request, list.named(name)));
    const Roadmap roadmap =
        read_roadmap(R"({"start": "2024-01", "end": "2034-01", "devices": ["h100"], "growth": {"bandwidth": 1.2},
        "workloads": [{"name": "<script>", "context": 8192, "growth": {"context": 2}}]})",
                     "test", list);
    report.fates = follow(shape.view(), KvType::kF16, roadmap);
  }
};

TEST(TextReport, HasAllThatWasAskedAndTheVerdictFirst) {
  const Whole whole;
  const std::string text = report_text(whole.report);
  EXPECT_THAT(text, StartsWith("memory-bound: "));
  for (const char* words : {"smallest budget", "starves first", "scenario        realtime",
                            "jericho bench -m model.gguf", "H100 SXM", "J/Mtok", "roadmap", "<script>"})
    EXPECT_THAT(text, HasSubstr(words));
}

TEST(TextReport, OfAVerificationBeginsWithTheMeasuredVerdict) {
  Whole whole;
  whole.report.verification =
      Verification{.figures = {{"decode", "decode", "tokens/s", 30, 20}}, .how = "by a slice", .decode = {0.8, 0.1}};
  EXPECT_FALSE(whole.report.verification->holds());
  const std::string text = report_text(whole.report);
  EXPECT_THAT(
      text, StartsWith(
                "memory-bound, measured: decoding used 80 % of the bandwidth and 10 % of the arithmetic; at the wall"));
  EXPECT_THAT(text, HasSubstr("more than 20 %"));
  whole.report.verification->figures[0].predicted = 23;
  EXPECT_TRUE(whole.report.verification->holds());
}

TEST(JsonReport, HasEverySectionWithUnitsInItsKeys) {
  const Whole whole;
  const nlohmann::json json = to_json(whole.report);
  EXPECT_EQ(json["model"]["parameters"], 8'030'261'248);
  EXPECT_EQ(json["model"]["kv_per_token"]["f16_bytes"], 131'072);
  EXPECT_EQ(json["scenarios"].size(), 4U);
  EXPECT_EQ(json["devices"].size(), 3U);
  EXPECT_EQ(json["roadmap"][0]["workload"], "<script>");
  EXPECT_GT(json["plan"]["smallest_budget_bytes"], 0);
  EXPECT_GT(json["training"]["methods"]["adamw-mixed"]["optimizer_bytes"], 0);
  EXPECT_FALSE(json["budgets"].empty());
  EXPECT_EQ(json["budgets"][0]["decode_tokens_per_second_at_most"], 0);  // below the smallest
}

TEST(HtmlReport, IsOnePageThatNeedsNothingElse) {
  const Whole whole;
  const std::string html = report_html(whole.report, whole.shape.view());
  EXPECT_THAT(html, StartsWith("<!DOCTYPE html>"));
  for (const char* words : {"Roofline", "Keys and values over context", "Tokens per second over budget",
                            "Memory while running", "prefers-color-scheme:dark"})
    EXPECT_THAT(html, HasSubstr(words));
  for (const char* words : {"<script", "http://", "https://", "url(", "@import", "src="})
    EXPECT_THAT(html, Not(HasSubstr(words)));
}

TEST(HtmlReport, EscapesWhatComesFromOutside) {
  const Whole whole;
  const std::string html = report_html(whole.report, whole.shape.view());
  EXPECT_THAT(html, HasSubstr("a&lt;b&gt;&amp;&quot;&#39;.json"));
  EXPECT_THAT(html, Not(HasSubstr("a<b>")));
}

TEST(HtmlReport, HasNoNumberThatIsNone) {
  const Whole whole;
  const std::string html = report_html(whole.report, whole.shape.view());
  for (const char* words : {"nan", "inf\"", "inf ", "-nan"}) EXPECT_THAT(html, Not(HasSubstr(words)));
}

TEST(SvgChart, WithNothingToDrawIsEmpty) {
  SvgChart chart("t", "d", {}, {});
  chart.add({.name = "nothing"});
  EXPECT_EQ(chart.html(), "");
}

TEST(SvgChart, DrawsOnePointAndEqualPoints) {
  for (const bool log : {false, true}) {
    SvgChart chart("t", "d", {.label = "x", .log = log}, {.label = "y", .log = log});
    chart.add({.name = "flat", .points = {{5, 7}, {5, 7}}});
    EXPECT_THAT(chart.html(), HasSubstr("<path class=\"line s0\""));
    EXPECT_THAT(chart.html(), Not(HasSubstr("nan")));
  }
}

}  // namespace
}  // namespace jericho
