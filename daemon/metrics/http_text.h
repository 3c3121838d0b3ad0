// As much HTTP as Prometheus needs: one request in, one answer out. Pure; not the sockets
// (metrics_server.h). Design note: daemon/metrics/README.md.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace nodecomm {

// Prometheus sends a few hundred bytes.
constexpr size_t kHttpRequestBytesMax = 8192;

// Whether `received` is a whole request, or already too long for one.
bool IsHttpRequest(std::string_view received);

// The answer, after which the connection ends. `metrics` is called if they are asked for.
std::string AnswerHttp(std::string_view request, const std::function<std::string()>& metrics);

}  // namespace nodecomm
