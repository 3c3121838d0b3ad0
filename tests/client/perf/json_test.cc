// The JSON writer.
// See client/perf/json.h.
// Design note: client/perf/README.md.
#include "client/perf/json.h"

#include <gtest/gtest.h>

#include <limits>

namespace nodecomm::perf {
namespace {

TEST(JsonWriter, NestsAndSeparates) {
  JsonWriter json;
  json.BeginObject();
  json.Key("a");
  json.BeginArray();
  json.Integer(1);
  json.Integer(-2);
  json.EndArray();
  json.Key("b");
  json.BeginObject();
  json.EndObject();
  json.Key("c");
  json.Null();
  json.EndObject();
  EXPECT_EQ(json.text(), "{\n  \"a\": [\n    1,\n    -2\n  ],\n  \"b\": {},\n  \"c\": null\n}");
}

TEST(JsonWriter, EscapesStringsAndKeys) {
  JsonWriter json;
  json.BeginObject();
  json.Key("a\"b");
  json.String("back\\slash \"quoted\"\n\ttab \x01 \x7f µ");
  json.EndObject();
  EXPECT_EQ(
      json.text(),
      "{\n  \"a\\\"b\": \"back\\\\slash \\\"quoted\\\"\\u000a\\u0009tab \\u0001 \\u007f µ\"\n}");
}

TEST(JsonWriter, WritesNumbersThatJsonKnows) {
  JsonWriter json;
  json.BeginArray();
  json.Number(2.5);
  json.Number(0);
  json.Number(1234567.0);
  json.Number(std::numeric_limits<double>::infinity());
  json.Number(std::numeric_limits<double>::quiet_NaN());
  json.EndArray();
  EXPECT_EQ(json.text(), "[\n  2.5,\n  0,\n  1.23457e+06,\n  null,\n  null\n]");
}

}  // namespace
}  // namespace nodecomm::perf
