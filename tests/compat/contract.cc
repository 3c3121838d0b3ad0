#include "tests/compat/contract.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/base/status_macros.h"
#include "client/base/version.h"
#include "client/include/nodecomm/nodecomm.h"
#include "kernels/plane_layout.h"
#include "kernels/selection.h"
#include "proto/control_page.h"
#include "proto/framing.h"
#include "proto/liveness_page.h"

namespace nodecomm::compat {
namespace {

namespace pb = ::google::protobuf;

template <typename... Parts>
void Add(Contract& contract, std::string name, const Parts&... value) {
  contract.insert_or_assign(std::move(name), absl::StrCat(value...));
}

// "OFFSET+BYTES" of a member.
#define NODECOMM_PLACE(type, member) \
  absl::StrCat(offsetof(type, member), "+", sizeof(std::declval<type>().member))

// --- messages

std::string FieldText(const pb::FieldDescriptor& field) {
  std::string label;
  if (field.is_repeated()) label = "repeated ";
  if (field.has_optional_keyword()) label = "optional ";
  if (const pb::OneofDescriptor* oneof = field.real_containing_oneof(); oneof != nullptr) {
    label = absl::StrCat("oneof ", oneof->name(), " ");
  }
  std::string type = field.type_name();
  if (field.message_type() != nullptr) type = field.message_type()->full_name();
  if (field.enum_type() != nullptr) type = field.enum_type()->full_name();
  return absl::StrCat(field.number(), " ", label, type);
}

void AddEnum(const pb::EnumDescriptor& type, Contract& contract) {
  for (int i = 0; i < type.value_count(); ++i) {
    Add(contract, absl::StrCat("wire enum ", type.full_name(), ".", type.value(i)->name()),
        type.value(i)->number());
  }
}

void AddMessage(const pb::Descriptor& type, Contract& contract) {
  // Some have no fields yet.
  Add(contract, absl::StrCat("wire message ", type.full_name()), "there");
  for (int i = 0; i < type.field_count(); ++i) {
    const pb::FieldDescriptor& field = *type.field(i);
    Add(contract, absl::StrCat("wire field ", field.full_name()), FieldText(field));
  }
  for (int i = 0; i < type.enum_type_count(); ++i) AddEnum(*type.enum_type(i), contract);
  for (int i = 0; i < type.nested_type_count(); ++i) AddMessage(*type.nested_type(i), contract);
}

void AddService(const pb::ServiceDescriptor& service, Contract& contract) {
  for (int i = 0; i < service.method_count(); ++i) {
    const pb::MethodDescriptor& method = *service.method(i);
    Add(contract, absl::StrCat("wire rpc ", method.full_name()),
        method.client_streaming() ? "stream " : "", method.input_type()->full_name(), " returns ",
        method.server_streaming() ? "stream " : "", method.output_type()->full_name());
  }
}

absl::Status AddMessages(Contract& contract) {
  std::ifstream file(NODECOMM_DESCRIPTORS, std::ios::binary);
  pb::FileDescriptorSet set;
  if (!set.ParseFromIstream(&file)) {
    return absl::NotFoundError("no descriptors in " NODECOMM_DESCRIPTORS);
  }
  pb::DescriptorPool pool;
  for (const pb::FileDescriptorProto& proto : set.file()) {
    const pb::FileDescriptor* built = pool.BuildFile(proto);
    if (built == nullptr) return absl::InvalidArgumentError(proto.name());
    for (int i = 0; i < built->message_type_count(); ++i) {
      AddMessage(*built->message_type(i), contract);
    }
    for (int i = 0; i < built->enum_type_count(); ++i) AddEnum(*built->enum_type(i), contract);
    for (int i = 0; i < built->service_count(); ++i) AddService(*built->service(i), contract);
  }
  return absl::OkStatus();
}

// --- frames and pages

// A frame as it goes over the socket: its header is nobody's business but framing.cc's.
absl::Status AddFrame(FrameType type, absl::string_view name, Contract& contract) {
  std::array<int, 2> pair;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  const UniqueFd left(pair[0]);
  const UniqueFd right(pair[1]);
  ABSL_RETURN_IF_ERROR(SendFrame(
      left.get(),
      {.type = type, .transfer_id = 0x0102030405060708, .payload = "payload", .fds = {}}));
  std::array<char, 256> bytes;
  const ssize_t received = recv(right.get(), bytes.data(), bytes.size(), 0);
  if (received < 0) return absl::ErrnoToStatus(errno, "recv");
  Add(contract, absl::StrCat("wire frame ", name),
      absl::BytesToHexString({bytes.data(), static_cast<size_t>(received)}));
  return absl::OkStatus();
}

absl::Status AddFrames(Contract& contract) {
  ABSL_RETURN_IF_ERROR(AddFrame(FrameType::kHello, "hello", contract));
  ABSL_RETURN_IF_ERROR(AddFrame(FrameType::kWelcome, "welcome", contract));
  ABSL_RETURN_IF_ERROR(AddFrame(FrameType::kRefusal, "refusal", contract));
  ABSL_RETURN_IF_ERROR(AddFrame(FrameType::kTransfer, "transfer", contract));
  ABSL_RETURN_IF_ERROR(AddFrame(FrameType::kTransferAck, "acknowledgement", contract));
  ABSL_RETURN_IF_ERROR(AddFrame(FrameType::kAlive, "alive", contract));
  Add(contract, "wire frame payload_bytes_max", kFramePayloadBytesMax);
  Add(contract, "wire frame fds_max", kFrameFdsMax);
  return absl::OkStatus();
}

void AddPages(Contract& contract) {
  const auto add = [&contract](absl::string_view member, const auto& value) {
    Add(contract, absl::StrCat("wire control_page ", member), value);
  };
  add("magic", kControlPageMagic);
  add("version", kControlPageVersion);
  add("bytes", kControlPageBytes);
  add(".magic", NODECOMM_PLACE(ControlPage, magic));
  add(".version", NODECOMM_PLACE(ControlPage, version));
  add(".generation", NODECOMM_PLACE(ControlPage, generation));
  add(".stop", NODECOMM_PLACE(ControlPage, stop));
  add(".left_mask", NODECOMM_PLACE(ControlPage, left_mask));
  add(".left_epoch", NODECOMM_PLACE(ControlPage, left_epoch));
  add(".culprit_rank", NODECOMM_PLACE(ControlPage, culprit_rank));
  add(".culprit_pid", NODECOMM_PLACE(ControlPage, culprit_pid));
  add(".reason", NODECOMM_PLACE(ControlPage, reason));
  add(".ready", NODECOMM_PLACE(ControlPage, ready));
  static_assert(sizeof(ControlPage) == 704, "add the new member above, at the struct's end");
  Add(contract, "wire liveness_page bytes", kLivenessPageBytes);
}

// --- the C ABI

absl::Status AddSymbols(Contract& contract) {
  // Held to the library by client_exports_test.
  std::ifstream file(NODECOMM_SYMBOLS);
  std::string line;
  std::getline(file, line);
  Add(contract, "library soname", std::vector<std::string>(absl::StrSplit(line, ' ')).front());
  while (std::getline(file, line)) {
    // " NAME@VERSION SINCE"
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() == 2) Add(contract, absl::StrCat("library symbol ", words[0]), words[1]);
  }
  if (!file.eof()) return absl::NotFoundError(NODECOMM_SYMBOLS);
  return absl::OkStatus();
}

void AddStructs(Contract& contract) {
#define NODECOMM_ADD(type, member) \
  Add(contract, "library " #type "." #member, NODECOMM_PLACE(type, member))
  NODECOMM_ADD(nodecomm_options, struct_size);
  NODECOMM_ADD(nodecomm_options, name);
  NODECOMM_ADD(nodecomm_options, key);
  NODECOMM_ADD(nodecomm_options, world_size);
  NODECOMM_ADD(nodecomm_options, rank);
  NODECOMM_ADD(nodecomm_options, device);
  NODECOMM_ADD(nodecomm_options, plane_bytes);
  NODECOMM_ADD(nodecomm_options, algorithm);
  NODECOMM_ADD(nodecomm_options, rendezvous_timeout_ms);
  NODECOMM_ADD(nodecomm_options, call_timeout_ms);
  NODECOMM_ADD(nodecomm_options, runtime_dir);
  NODECOMM_ADD(nodecomm_options, checked);
  static_assert(sizeof(nodecomm_options) == 88, "add the new member above, at the struct's end");
  NODECOMM_ADD(nodecomm_info, struct_size);
  NODECOMM_ADD(nodecomm_info, rank);
  NODECOMM_ADD(nodecomm_info, world_size);
  NODECOMM_ADD(nodecomm_info, device);
  NODECOMM_ADD(nodecomm_info, platform);
  NODECOMM_ADD(nodecomm_info, plane_bytes);
  NODECOMM_ADD(nodecomm_info, generation);
  NODECOMM_ADD(nodecomm_info, gpu_uuid);
  static_assert(sizeof(nodecomm_info) == 88, "add the new member above, at the struct's end");
#undef NODECOMM_ADD
}

void AddCodes(Contract& contract) {
#define NODECOMM_ADD(name) Add(contract, "library " #name, static_cast<int>(name))
  NODECOMM_ADD(NODECOMM_OK);
  NODECOMM_ADD(NODECOMM_INVALID_ARGUMENT);
  NODECOMM_ADD(NODECOMM_DEADLINE_EXCEEDED);
  NODECOMM_ADD(NODECOMM_FAILED_PRECONDITION);
  NODECOMM_ADD(NODECOMM_RESOURCE_EXHAUSTED);
  NODECOMM_ADD(NODECOMM_UNAVAILABLE);
  NODECOMM_ADD(NODECOMM_ABORTED);
  NODECOMM_ADD(NODECOMM_UNSUPPORTED_VERSION);
  NODECOMM_ADD(NODECOMM_INTERNAL);
  NODECOMM_ADD(NODECOMM_FLOAT32);
  NODECOMM_ADD(NODECOMM_FLOAT16);
  NODECOMM_ADD(NODECOMM_BFLOAT16);
  NODECOMM_ADD(NODECOMM_SUM);
  NODECOMM_ADD(NODECOMM_PLATFORM_CUDA);
  NODECOMM_ADD(NODECOMM_PLATFORM_SIMULATED);
  NODECOMM_ADD(NODECOMM_ALGORITHM_AUTO);
  NODECOMM_ADD(NODECOMM_ALGORITHM_ONE_SHOT);
  NODECOMM_ADD(NODECOMM_ALGORITHM_TWO_SHOT);
  NODECOMM_ADD(NODECOMM_ALGORITHM_COPY);
  NODECOMM_ADD(NODECOMM_KEY_BYTES);
#undef NODECOMM_ADD
}

// --- planes

constexpr std::array<ByteCount, 2> kPlanes = {kernels::kPlaneBytesMin, kernels::kPlaneBytesDefault};

void AddPlane(Contract& contract) {
  using kernels::PlaneHeader;
  Add(contract, "plane .poison", NODECOMM_PLACE(PlaneHeader, poison));
  Add(contract, "plane .failure_claimed", NODECOMM_PLACE(PlaneHeader, failure_claimed));
  Add(contract, "plane .block", NODECOMM_PLACE(PlaneHeader, block));
  Add(contract, "plane block .epoch", NODECOMM_PLACE(kernels::BlockState, epoch));
  Add(contract, "plane block .poison", NODECOMM_PLACE(kernels::BlockState, poison));
  Add(contract, "plane .check", NODECOMM_PLACE(PlaneHeader, check));
  Add(contract, "plane .check_slots", NODECOMM_PLACE(PlaneHeader, check_slots));
  Add(contract, "plane header bytes", sizeof(PlaneHeader));
  Add(contract, "plane credits begin", kernels::kPlaneCreditsBegin);
  Add(contract, "plane regions begin", kernels::kPlaneRegionsBegin);
  Add(contract, "plane blocks_max", kernels::kBlocksMax);
  Add(contract, "plane packet bytes", kernels::kPacketBytes);
  Add(contract, "plane slots together", kernels::kSlotsTogether);
  Add(contract, "plane slot shift room", kernels::kSlotShiftRoom);
  for (const auto type : {kernels::ElementType::kFloat32, kernels::ElementType::kFloat16,
                          kernels::ElementType::kBfloat16}) {
    for (const size_t bytes : {16, 4, 12}) {
      Add(contract,
          absl::StrFormat("plane slot shift of type %d, %d bytes", static_cast<int>(type), bytes),
          kernels::SlotShift(type, bytes));
    }
  }
  for (const ByteCount bytes : kPlanes) {
    for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
      const kernels::PlaneLayout layout = kernels::LayOutPlane(bytes, {ranks});
      std::string text;
      for (const kernels::SlotRegion& region : {layout.first, layout.gather}) {
        absl::StrAppend(&text, text.empty() ? "" : " ", region.begin, "+", region.slot_packets);
      }
      Add(contract, absl::StrFormat("plane regions of %d bytes, %d ranks", bytes.value, ranks),
          text);
    }
  }
}

// FNV-1a of 64 bits, over text.
void Mix(uint64_t& fingerprint, absl::string_view text) {
  for (const char c : text) {
    fingerprint = (fingerprint ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
}

// Everything that ranks must choose alike for messages of many sizes, around each power of two.
std::string PlansFingerprint(const kernels::GroupShape& shape) {
  uint64_t fingerprint = 0xcbf29ce484222325;
  for (size_t power = 4; power <= (size_t{64} << 20); power *= 2) {
    for (const size_t bytes : {power - 2, power, power + 2, power + power / 4, power + power / 2}) {
      const kernels::Plan plan =
          kernels::SelectPlan({bytes}, kernels::ElementType::kBfloat16, shape);
      const kernels::LaunchPlan launch =
          kernels::PlanLaunch(plan, {std::min(bytes, plan.launch_bytes)}, shape);
      Mix(fingerprint,
          absl::StrCat(static_cast<int>(plan.algorithm), " ", plan.launch_bytes, " ",
                       launch.grid.blocks, " ", launch.grid.threads, " ", launch.packets, " ",
                       launch.chunk_packets, " ", launch.chunks, ";"));
    }
  }
  return absl::StrFormat("%016x", fingerprint);
}

void AddSelection(Contract& contract) {
  // A simulated host, then the first architecture of each row of the tuning's table.
  for (const int architecture : {0, 80, 90, 100}) {
    for (const ByteCount bytes : kPlanes) {
      for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
        Add(contract,
            absl::StrFormat("selection of architecture %d, planes of %d bytes, %d ranks",
                            architecture, bytes.value, ranks),
            PlansFingerprint({.world_size = {ranks},
                              .layout = kernels::LayOutPlane(bytes, {ranks}),
                              .multiprocessors = 132,
                              .architecture = architecture}));
      }
    }
  }
}

#undef NODECOMM_PLACE

}  // namespace

absl::StatusOr<Contract> ContractOfThisBuild() {
  Contract contract;
  Add(contract, "release version", kVersion);
  Add(contract, "wire version", kVersionMajor);
  Add(contract, "library version", NODECOMM_ABI);
  Add(contract, "plane version", kernels::kPlaneAbi);
  Add(contract, "selection version", kernels::kAlgorithmTableVersion);
  ABSL_RETURN_IF_ERROR(AddMessages(contract));
  ABSL_RETURN_IF_ERROR(AddFrames(contract));
  AddPages(contract);
  ABSL_RETURN_IF_ERROR(AddSymbols(contract));
  AddStructs(contract);
  AddCodes(contract);
  AddPlane(contract);
  AddSelection(contract);
  return contract;
}

std::string ContractText(const Contract& contract) {
  std::string text;
  for (const auto& [name, value] : contract) absl::StrAppend(&text, name, ": ", value, "\n");
  return text;
}

absl::StatusOr<Contract> ParseContract(absl::string_view text) {
  Contract contract;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line.front() == '#') continue;
    const size_t colon = line.find(": ");
    if (colon == absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrFormat("no fact: '%s'", line));
    }
    contract.emplace(std::string(line.substr(0, colon)), std::string(line.substr(colon + 2)));
  }
  return contract;
}

}  // namespace nodecomm::compat
