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
  std::vector<std::string> failures;
  bool ran = false;
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

}  // namespace

bool AddTest(const char* suite, const char* name, std::function<void()> body) {
  Test test;
  test.suite = suite;
  test.name = name;
  test.body = std::move(body);
  Tests().push_back(test);
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

namespace {

int FromEnvironment(const char* name, int otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}

}  // namespace

int main(int argc, char** argv) {
  using testing::internal::Tests;
  // Of GoogleTest's filters, the name of one test.
  const std::string filter = argc > 1 ? argv[1] : "";
  // Of Bazel's shards, every so many-th test each.
  const int shards = FromEnvironment("TEST_TOTAL_SHARDS", 1);
  const int shard = FromEnvironment("TEST_SHARD_INDEX", 0);
  if (const char* path = std::getenv("TEST_SHARD_STATUS_FILE")) {
    if (FILE* file = std::fopen(path, "w")) std::fclose(file);
  }
  int ran = 0;
  int failed = 0;
  int index = 0;
  for (auto& test : Tests()) {
    const std::string name = test.suite + "." + test.name;
    if (index++ % shards != shard) continue;
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
