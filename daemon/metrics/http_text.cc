#include "daemon/metrics/http_text.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace nodecomm {
namespace {

constexpr char kText[] = "text/plain; charset=utf-8";
// The version is that of Prometheus's text format.
constexpr char kMetricsText[] = "text/plain; version=0.0.4; charset=utf-8";

std::string Answer(const char* status, const char* type, const std::string& body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                      "\r\nContent-Length: ", body.size(), "\r\nConnection: close\r\n\r\n", body);
}

}  // namespace

bool IsHttpRequest(std::string_view received) {
  return received.find("\r\n\r\n") != std::string_view::npos ||
         received.size() > kHttpRequestBytesMax;
}

std::string AnswerHttp(std::string_view request, const std::function<std::string()>& metrics) {
  if (request.size() > kHttpRequestBytesMax) {
    return Answer("431 Request Header Fields Too Large", kText, "the request is too long\n");
  }
  const std::string line(request.substr(0, request.find("\r\n")));
  const std::vector<std::string> words = absl::StrSplit(line, ' ');
  if (words.size() != 3 || !words[2].starts_with("HTTP/1.")) {
    return Answer("400 Bad Request", kText, "not a request of HTTP/1.1\n");
  }
  if (words[0] != "GET") return Answer("405 Method Not Allowed", kText, "GET is served\n");
  if (words[1].substr(0, words[1].find('?')) != "/metrics") {
    return Answer("404 Not Found", kText, "the metrics are at /metrics\n");
  }
  return Answer("200 OK", kMetricsText, metrics());
}

}  // namespace nodecomm
