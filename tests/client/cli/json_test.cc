// The shape of what programs read.
#include "client/cli/json.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "daemon/topology/inventory.h"
#include "nodecomm/v1/report.pb.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using Struct = google::protobuf::Struct;

Struct Parse(const absl::StatusOr<std::string>& json) {
  EXPECT_OK(json);
  Struct parsed;
  const auto status = google::protobuf::util::JsonStringToMessage(json.value_or(""), &parsed);
  EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << json.value_or("");
  return parsed;
}

TEST(TopologyToJson, HasGpusAndLinksAtTheTop) {
  const auto inventory =
      CreateFileInventory(absl::StrCat(NODECOMM_TOPOLOGY_DIR, "/hgx-h100-x4.textproto"));
  ASSERT_OK(inventory);
  v1::GetTopologyResponse topology;
  *topology.mutable_host() = *(*inventory)->Read();
  topology.set_simulated(true);
  Struct json = Parse(TopologyToJson(topology));

  EXPECT_TRUE(json.fields().at("simulated").bool_value());
  EXPECT_EQ(json.fields().at("hostname").string_value(), "simulated-hgx-h100-x4");
  const auto& gpus = json.fields().at("gpus").list_value();
  ASSERT_EQ(gpus.values_size(), 4);
  const auto& gpu = gpus.values(1).struct_value().fields();
  EXPECT_EQ(gpu.at("uuid").string_value(), "GPU-51000000-0000-4000-8000-000000000001");
  EXPECT_EQ(gpu.at("memory_bytes").string_value(), "85520809984");
  EXPECT_EQ(gpu.at("compute_capability_minor").number_value(), 0);
  EXPECT_EQ(gpu.at("numa_node").number_value(), 0);
  const auto& links = json.fields().at("links").list_value();
  ASSERT_EQ(links.values_size(), 12);
  const auto& link = links.values(0).struct_value().fields();
  EXPECT_EQ(link.at("kind").string_value(), "LINK_KIND_NVSWITCH");
  EXPECT_EQ(link.at("nvlink_count").number_value(), 18);
}

TEST(TopologyToJson, IsValidForAnEmptyHost) {
  const Struct json = Parse(TopologyToJson(v1::GetTopologyResponse()));
  EXPECT_FALSE(json.fields().at("simulated").bool_value());
  EXPECT_EQ(json.fields().at("gpus").list_value().values_size(), 0);
  EXPECT_EQ(json.fields().at("links").list_value().values_size(), 0);
}

TEST(TopologyToJson, LeavesOutNumaNodeThatIsNotKnown) {
  v1::GetTopologyResponse topology;
  topology.mutable_host()->add_gpus()->set_uuid("GPU-a");
  const Struct json = Parse(TopologyToJson(topology));
  const auto& gpu = json.fields().at("gpus").list_value().values(0).struct_value().fields();
  EXPECT_TRUE(gpu.contains("uuid"));
  EXPECT_FALSE(gpu.contains("numa_node"));
}

// Field names of a message and of what is in it.
void CollectNames(const google::protobuf::Descriptor* type, std::set<std::string>& names) {
  for (int i = 0; i < type->field_count(); ++i) {
    names.insert(type->field(i)->name());
    if (type->field(i)->message_type() != nullptr) {
      CollectNames(type->field(i)->message_type(), names);
    }
  }
}

TEST(TopologyToJson, HasEveryFieldInItsDocument) {
  std::ifstream file(NODECOMM_JSON_DOCUMENT);
  const std::string document{std::istreambuf_iterator<char>(file),
                             std::istreambuf_iterator<char>()};
  std::set<std::string> names = {"schema_version"};
  CollectNames(v1::GetTopologyResponse::descriptor(), names);
  names.erase("host");  // its fields are at the top
  EXPECT_GT(names.size(), 40u);
  for (const std::string& name : names) {
    EXPECT_THAT(document, testing::HasSubstr(absl::StrCat("`", name, "`")));
  }
}

TEST(MessageToJson, EveryFieldIsInTheDocument) {
  std::ifstream file(NODECOMM_OTHER_JSON_DOCUMENT);
  const std::string document{std::istreambuf_iterator<char>(file),
                             std::istreambuf_iterator<char>()};
  std::set<std::string> names;
  for (const google::protobuf::Descriptor* type :
       {v1::GetStatusResponse::descriptor(), v1::ListSessionsResponse::descriptor(),
        v1::ListGroupsResponse::descriptor(), v1::ListPoolsResponse::descriptor(),
        v1::ExplainFastPathResponse::descriptor(), v1::VersionReport::descriptor(),
        v1::DoctorReport::descriptor(), v1::TopView::descriptor(),
        v1::AdminAbortGroupRequest::descriptor(), v1::DrainGpuResponse::descriptor(),
        v1::UndrainGpuRequest::descriptor()}) {
    CollectNames(type, names);
  }
  names.insert({"config", "config_path"});  // the rest has a manual page
  const google::protobuf::Descriptor* const pair = v1::PairReport::descriptor();
  for (int i = 0; i < pair->field_count(); ++i) names.insert(pair->field(i)->name());
  EXPECT_GT(names.size(), 50u);
  for (const std::string& name : names) {
    EXPECT_THAT(document, testing::HasSubstr(absl::StrCat("`", name, "`")));
  }
}

TEST(TopologyToJson, HasVersionProofsAndProgress) {
  v1::GetTopologyResponse topology;
  topology.mutable_host()->set_hostname("h");
  topology.set_driver_trusted(true);
  v1::PeerProof* proof = topology.add_proofs();
  proof->set_verdict(v1::PROOF_VERDICT_FAILED);
  proof->set_reason("} \" {");
  topology.mutable_check()->set_pairs_total(12);
  const Struct json = Parse(TopologyToJson(topology));
  EXPECT_EQ(json.fields().at("schema_version").number_value(), 1);
  EXPECT_EQ(json.fields().at("hostname").string_value(), "h");
  EXPECT_TRUE(json.fields().at("driver_trusted").bool_value());
  const auto& shown = json.fields().at("proofs").list_value().values(0).struct_value().fields();
  EXPECT_EQ(shown.at("verdict").string_value(), "PROOF_VERDICT_FAILED");
  EXPECT_EQ(shown.at("reason").string_value(), "} \" {");
  EXPECT_EQ(json.fields().at("check").struct_value().fields().at("pairs_total").number_value(), 12);
}

TEST(MessageToJsonLine, IsTheSameOnOneLine) {
  v1::TopView view;
  view.add_groups()->set_name("two\nlines");
  const auto line = MessageToJsonLine(view);
  ASSERT_OK(line);
  EXPECT_EQ(line->find('\n'), line->size() - 1);
  EXPECT_EQ(Parse(line).DebugString(), Parse(MessageToJson(view)).DebugString());
}

TEST(MessageToJson, HasPoolsEvenWhereThereAreNone) {
  EXPECT_TRUE(Parse(MessageToJson(v1::ListPoolsResponse())).fields().contains("pools"));
}

TEST(MessageToJson, HasGroupsEvenWhereThereAreNone) {
  EXPECT_TRUE(Parse(MessageToJson(v1::ListGroupsResponse())).fields().contains("groups"));
}

TEST(MessageToJson, KeepsFieldNamesAndZeroes) {
  v1::ListPoolsResponse pools;
  pools.add_pools()->set_gpu_uuid("GPU-a");
  const Struct json = Parse(MessageToJson(pools));
  const auto& pool = json.fields().at("pools").list_value().values(0).struct_value().fields();
  EXPECT_EQ(pool.at("gpu_uuid").string_value(), "GPU-a");
  EXPECT_EQ(pool.at("planes_ready").number_value(), 0);
  EXPECT_EQ(pool.at("last_error").string_value(), "");
}

}  // namespace
}  // namespace nodecomm
