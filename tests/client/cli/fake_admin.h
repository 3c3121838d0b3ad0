// A gRPC Admin service on a socket in a directory of its own, answering what the test says.
// Not the daemon's: no groups, no pools, only messages.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "nodecomm/v1/admin.grpc.pb.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {

// A directory as the daemon's runtime directory, with an empty admin/; removed at the end.
class FakeRuntimeDir {
 public:
  FakeRuntimeDir() { std::filesystem::create_directory(path() + "/admin"); }
  FakeRuntimeDir(const FakeRuntimeDir&) = delete;
  FakeRuntimeDir& operator=(const FakeRuntimeDir&) = delete;

  const std::string& path() const { return directory_.path(); }
  std::string socket() const { return path() + "/admin/admin.sock"; }

 private:
  const TemporaryDirectory directory_;
};

struct FakeAdminAnswers {
  v1::GetStatusResponse status;
  v1::GetTopologyResponse topology;
  v1::ListGroupsResponse groups;
  v1::ListPoolsResponse pools;
  v1::ListSessionsResponse sessions;
  v1::GetConfigResponse config;
  v1::CheckPeersResponse check;
  v1::ExplainFastPathResponse fast_path;
  int drained_after = 1;    // calls of DrainGpu
  bool taken_back = false;  // by another, once a drain has begun
  grpc::Status error;       // instead of any of these, if not OK
  bool older = false;       // lack what came after the first version
  bool hang = false;        // answer nothing until the server stops
};

class FakeAdmin : public v1::Admin::Service {
 public:
  FakeAdmin(const FakeRuntimeDir& dir, FakeAdminAnswers answers) : answers_(std::move(answers)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + dir.socket(), grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeAdmin() override {
    stopping_.Notify();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
  }

  bool started() const { return server_ != nullptr; }

  grpc::Status GetStatus(grpc::ServerContext*, const v1::GetStatusRequest*,
                         v1::GetStatusResponse* response) override {
    return Answer(answers_.status, response);
  }
  grpc::Status GetTopology(grpc::ServerContext*, const v1::GetTopologyRequest*,
                           v1::GetTopologyResponse* response) override {
    grpc::Status status = Answer(answers_.topology, response);
    // Each answer is one pair further than the one before, until all are done.
    v1::PeerCheckProgress* progress = response->mutable_check();
    if (progress->running()) {
      progress->set_pairs_done(std::min(topology_answers_++, progress->pairs_total()));
      progress->set_running(progress->pairs_done() < progress->pairs_total());
    }
    return status;
  }
  grpc::Status CheckPeers(grpc::ServerContext*, const v1::CheckPeersRequest* request,
                          v1::CheckPeersResponse* response) override {
    forced_ = request->force();
    return Answer(answers_.check, response);
  }
  grpc::Status ExplainFastPath(grpc::ServerContext*, const v1::ExplainFastPathRequest* request,
                               v1::ExplainFastPathResponse* response) override {
    asked_.assign(request->gpu_uuids().begin(), request->gpu_uuids().end());
    return Answer(answers_.fast_path, response);
  }

  grpc::Status ListSessions(grpc::ServerContext*, const v1::ListSessionsRequest*,
                            v1::ListSessionsResponse* response) override {
    if (answers_.older) return Lacking();
    return Answer(answers_.sessions, response);
  }
  grpc::Status GetConfig(grpc::ServerContext*, const v1::GetConfigRequest*,
                         v1::GetConfigResponse* response) override {
    if (answers_.older) return Lacking();
    return Answer(answers_.config, response);
  }
  grpc::Status AbortGroup(grpc::ServerContext*, const v1::AdminAbortGroupRequest*,
                          v1::AdminAbortGroupResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status UndrainGpu(grpc::ServerContext*, const v1::UndrainGpuRequest*,
                          v1::UndrainGpuResponse*) override {
    return grpc::Status::OK;
  }

  grpc::Status DrainGpu(grpc::ServerContext*, const v1::DrainGpuRequest* request,
                        v1::DrainGpuResponse* response) override {
    if (answers_.taken_back && request->begun()) {
      return {grpc::StatusCode::FAILED_PRECONDITION, "was taken back"};
    }
    response->set_drained(++drains_ >= answers_.drained_after);
    return grpc::Status::OK;
  }
  int drains() const { return drains_; }

  // What was asked last. Not while a call goes on.
  bool forced() const { return forced_; }
  const std::vector<std::string>& asked() const { return asked_; }

  grpc::Status ListGroups(grpc::ServerContext*, const v1::ListGroupsRequest*,
                          v1::ListGroupsResponse* response) override {
    return Answer(answers_.groups, response);
  }
  grpc::Status ListPools(grpc::ServerContext*, const v1::ListPoolsRequest*,
                         v1::ListPoolsResponse* response) override {
    return Answer(answers_.pools, response);
  }

 private:
  static grpc::Status Lacking() { return {grpc::StatusCode::UNIMPLEMENTED, ""}; }

  template <typename Response>
  grpc::Status Answer(const Response& answer, Response* response) {
    if (answers_.hang) stopping_.WaitForNotification();
    if (!answers_.error.ok()) return answers_.error;
    *response = answer;
    return grpc::Status::OK;
  }

  const FakeAdminAnswers answers_;
  int topology_answers_ = 0;
  bool forced_ = false;
  std::atomic<int> drains_ = 0;
  std::vector<std::string> asked_;
  absl::Notification stopping_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace nodecomm
