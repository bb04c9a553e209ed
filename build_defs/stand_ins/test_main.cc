// Runs the tests of a program and reports them as Bazel wants it: see test.h.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/core/platform/test.h"

namespace testing {
namespace internal {
namespace {

struct Test {
  std::string suite;
  std::string name;
  std::function<void()> body;
  bool ran;
  std::vector<std::string> failures;
};

// Filled by initializers of other files, so made when first asked for.
std::vector<Test>& Tests() {
  static std::vector<Test>* tests = new std::vector<Test>;
  return *tests;
}

Test* running = nullptr;

std::string EscapedForXml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

void WriteXml(const char* path) {
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) return;
  std::fprintf(file, "<testsuites>\n<testsuite name=\"all\">\n");
  for (const Test& test : Tests()) {
    if (!test.ran) continue;
    std::fprintf(file, "<testcase classname=\"%s\" name=\"%s\">",
                 test.suite.c_str(), test.name.c_str());
    for (const std::string& failure : test.failures) {
      std::fprintf(file, "<failure message=\"%s\"/>",
                   EscapedForXml(failure).c_str());
    }
    std::fprintf(file, "</testcase>\n");
  }
  std::fprintf(file, "</testsuite>\n</testsuites>\n");
  std::fclose(file);
}

// Bazel's shards take tests in turn. Returns whether this one's has come.
bool IsOfThisShard(int index) {
  const char* const shards = std::getenv("TEST_TOTAL_SHARDS");
  const char* const shard = std::getenv("TEST_SHARD_INDEX");
  return shards == nullptr || shard == nullptr ||
         index % std::atoi(shards) == std::atoi(shard);
}

// Tells Bazel that the program knows of shards.
void AcknowledgeShards() {
  if (const char* const path = std::getenv("TEST_SHARD_STATUS_FILE")) {
    if (std::FILE* const file = std::fopen(path, "w")) std::fclose(file);
  }
}

}  // namespace

bool AddTest(const char* suite, const char* name, std::function<void()> body) {
  Tests().push_back({suite, name, std::move(body), false, {}});
  return true;
}

void Failure::operator=(const Message& message) const {
  std::ostringstream text;
  text << file_ << ":" << line_ << ": " << what_ << " " << message.str();
  std::fprintf(stderr, "%s\n", text.str().c_str());
  running->failures.push_back(text.str());
}

}  // namespace internal
}  // namespace testing

int main(int argc, char** argv) {
  using testing::internal::Tests;
  // Of GoogleTest's filters, the name of one test.
  const std::string filter = argc > 1 ? argv[1] : "";
  testing::internal::AcknowledgeShards();
  int ran = 0;
  int failed = 0;
  int index = 0;
  for (auto& test : Tests()) {
    if (!testing::internal::IsOfThisShard(index++)) continue;
    const std::string name = test.suite + "." + test.name;
    if (!filter.empty() && filter != "--gtest_filter=" + name) continue;
    ++ran;
    test.ran = true;
    testing::internal::running = &test;
    std::fprintf(stderr, "[ RUN  ] %s.%s\n", test.suite.c_str(),
                 test.name.c_str());
    test.body();
    if (!test.failures.empty()) ++failed;
    std::fprintf(stderr, "[ %s ] %s.%s\n",
                 test.failures.empty() ? " OK " : "FAIL", test.suite.c_str(),
                 test.name.c_str());
  }
  if (const char* path = std::getenv("XML_OUTPUT_FILE")) {
    testing::internal::WriteXml(path);
  }
  std::fprintf(stderr, "%d tests, %d failed\n", ran, failed);
  return failed == 0 ? 0 : 1;
}
