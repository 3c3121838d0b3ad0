// Fills in the arguments of one launch from a binding, a message and a part of it.
// Host code, shared by the host and the GPU implementation, so that both run the same plan.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/all_reduce.h"
#include "kernels/device/call.h"
#include "kernels/device/payload.h"
#include "kernels/selection.h"

namespace nodecomm::kernels {

// What does not change between calls of a group.
Call CallTemplate(const Binding& binding);

// What a rank tells the others of the whole message in checked mode.
CallFacts FactsOf(const Message& message);

// `bytes` bytes of the message from `offset` on, as one launch; `launch` is what PlanLaunch says of
// them.
Call CallForLaunch(Call call, const Message& message, const LaunchPlan& launch, size_t offset,
                   size_t bytes, const GroupShape& shape);

// The least that serves this rank's buffers and proves that it is alone, or need not: the same for
// all launches of a message.
inline Code CodeFor(const Message& message, bool proves_alone) {
  const uintptr_t addresses =
      reinterpret_cast<uintptr_t>(message.in) | reinterpret_cast<uintptr_t>(message.out);
  const size_t bytes = message.count * ElementBytes(message.type);
  if ((addresses | bytes) % kPacketBytes != 0) return Code::kFull;
  return proves_alone ? Code::kProven : Code::kLean;
}

// InvalidArgument if no kernel can serve the message: world size outside 2 to kWorldSizeMax, null
// pointers, more than kMessageBytesMax.
absl::Status CheckMessage(const Binding& binding, const Message& message);

}  // namespace nodecomm::kernels
