// To be loaded with LD_PRELOAD: the C library's functions as nodecomm calls them, of which a test
// can make the nth fail. What other libraries call goes through untouched, but for two of gRPC's.
// Not part of any program that is installed. Design note: tests/faults/README.md.

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tests/faults/fault_plan.h"

// The next definition after this library's: the C library's.
#define NEXT(function)                                                                             \
  ([] {                                                                                            \
    static const auto next = reinterpret_cast<decltype(&(function))>(dlsym(RTLD_NEXT, #function)); \
    return next;                                                                                   \
  }())

// Whose call it is: the address that the function returns to.
#define CALLER __builtin_return_address(0)

namespace nodecomm {
namespace {

constexpr long kSysOpenTree = 428;
constexpr long kSysMountSetattr = 442;
constexpr int kSoPeerPidfd = 77;

enum class Owner : uint8_t { kOther, kNodecomm, kGrpc };

struct Text {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  Owner owner = Owner::kOther;
};

class Process {
 public:
  Process() {
    const char* path = std::getenv(kFaultPlanVariable);
    if (path == nullptr) return;
    const int fd = NEXT(open)(path, O_RDWR | O_CLOEXEC);
    void* const plan =
        NEXT(mmap)(nullptr, sizeof(FaultPlan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (plan == MAP_FAILED) abort();
    // What this process starts is not under test.
    unsetenv("LD_PRELOAD");
    unsetenv(kFaultPlanVariable);
    dl_iterate_phdr(&AddLibrary, this);
    plan_ = static_cast<FaultPlan*>(plan);
  }

  // Whether this call of `wanted`'s is the one that is to fail, and how.
  int32_t FaultOf(Call call, const void* caller, Owner wanted = Owner::kNodecomm) {
    if (plan_ == nullptr || OwnerOf(reinterpret_cast<uintptr_t>(caller)) != wanted) return 0;
    const int64_t index = plan_->counts[static_cast<uint32_t>(call)].fetch_add(1);
    if (plan_->call != call || plan_->nth != index) return 0;
    ++plan_->fired;
    return plan_->error;
  }

 private:
  static int AddLibrary(dl_phdr_info* info, size_t /*size*/, void* process) {
    const std::string_view name = info->dlpi_name;
    Owner owner = Owner::kOther;
    // The program itself has no name.
    if (name.empty() || name.find("/libnodecomm.") != name.npos) owner = Owner::kNodecomm;
    if (name.find("/libgrpc.") != name.npos) owner = Owner::kGrpc;
    if (owner != Owner::kOther) static_cast<Process*>(process)->Add(*info, owner);
    return 0;
  }

  void Add(const dl_phdr_info& info, Owner owner) {
    for (int i = 0; i < info.dlpi_phnum; ++i) {
      const ElfW(Phdr)& part = info.dlpi_phdr[i];
      const bool executable = part.p_type == PT_LOAD && (part.p_flags & PF_X) != 0;
      if (!executable || count_ == texts_.size()) continue;
      const uintptr_t begin = info.dlpi_addr + part.p_vaddr;
      texts_[count_++] = {.begin = begin, .end = begin + part.p_memsz, .owner = owner};
    }
  }

  Owner OwnerOf(uintptr_t address) const {
    for (size_t i = 0; i < count_; ++i) {
      if (address >= texts_[i].begin && address < texts_[i].end) return texts_[i].owner;
    }
    return Owner::kOther;
  }

  FaultPlan* plan_ = nullptr;  // null: nothing fails
  std::array<Text, 8> texts_;
  size_t count_ = 0;
};

// At the first call, which may come before this library's constructors.
Process& ThisProcess() {
  static Process process;
  return process;
}

// So that the environment is clean before main() as well.
[[maybe_unused]] const Process& loaded = ThisProcess();

// 0: the call is made as it is; kHalf: by half; otherwise it fails, and errno is that.
int32_t FaultOf(Call call, const void* caller, Owner wanted = Owner::kNodecomm) {
  const int before = errno;
  const int32_t fault = ThisProcess().FaultOf(call, caller, wanted);
  errno = fault > 0 ? fault : before;
  return fault;
}

bool Fails(Call call, const void* caller) { return FaultOf(call, caller) > 0; }

// Of a call on a connection, which is lost for both ends where the error says so.
int32_t FaultOn(int socket, Call call, const void* caller, Owner wanted = Owner::kNodecomm) {
  const int32_t fault = FaultOf(call, caller, wanted);
  if (fault == EPIPE || fault == ECONNRESET) {
    shutdown(socket, SHUT_RDWR);
    errno = fault;
  }
  return fault;
}

// What is left of `bytes`; 0: the call fails.
size_t Shorten(Call call, const void* caller, size_t bytes) {
  const int32_t fault = FaultOf(call, caller);
  if (fault > 0) return 0;
  return fault == kHalf && bytes > 1 ? bytes / 2 : bytes;
}

bool IsFile(int fd) {
  struct stat info = {};
  return fd > STDERR_FILENO && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

mode_t ModeOf(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace
}  // namespace nodecomm

#pragma GCC visibility push(default)
extern "C" {

using nodecomm::Call;
using nodecomm::Fails;
using nodecomm::FaultOn;
using nodecomm::Owner;

int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  if (Fails(Call::kAccept, CALLER)) return -1;
  return NEXT(accept4)(fd, address, length, flags);
}

int connect(int fd, const sockaddr* address, socklen_t length) {
  if (Fails(Call::kConnect, CALLER)) return -1;
  return NEXT(connect)(fd, address, length);
}

int socket(int domain, int type, int protocol) noexcept {
  if (Fails(Call::kSocket, CALLER)) return -1;
  return NEXT(socket)(domain, type, protocol);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (FaultOn(fd, Call::kSend, CALLER) > 0) return -1;
  if (FaultOn(fd, Call::kRpcSend, CALLER, Owner::kGrpc) > 0) return -1;
  return NEXT(sendmsg)(fd, message, flags);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  const int32_t fault = FaultOn(fd, Call::kReceive, CALLER);
  if (fault > 0 || FaultOn(fd, Call::kRpcReceive, CALLER, Owner::kGrpc) > 0) return -1;
  // As to a process that may open no more files: the kernel drops the descriptors, and says so.
  if (fault == nodecomm::kHalf) message->msg_controllen = 0;
  return NEXT(recvmsg)(fd, message, flags);
}

int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  if (operation == EPOLL_CTL_ADD && Fails(Call::kEpollAdd, CALLER)) return -1;
  return NEXT(epoll_ctl)(epoll, operation, fd, event);
}

int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) {
  if (Fails(Call::kEpollWait, CALLER)) return -1;
  return NEXT(epoll_wait)(epoll, events, count, timeout_ms);
}

int poll(pollfd* fds, nfds_t count, int timeout_ms) {
  if (Fails(Call::kPoll, CALLER)) return -1;
  return NEXT(poll)(fds, count, timeout_ms);
}

int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  if (Fails(Call::kPoll, CALLER)) return -1;
  return NEXT(ppoll)(fds, count, timeout, mask);
}

int eventfd(unsigned count, int flags) noexcept {
  if (Fails(Call::kEvent, CALLER)) return -1;
  return NEXT(eventfd)(count, flags);
}

int getsockopt(int fd, int level, int option, void* value, socklen_t* length) noexcept {
  if (option == nodecomm::kSoPeerPidfd && Fails(Call::kPeerPidfd, CALLER)) return -1;
  return NEXT(getsockopt)(fd, level, option, value, length);
}

long syscall(long number, ...) noexcept {
  std::array<long, 6> words;
  va_list arguments;
  va_start(arguments, number);
  for (long& word : words) word = va_arg(arguments, long);
  va_end(arguments);
  const bool may_fail = number == SYS_pidfd_open || number == nodecomm::kSysOpenTree ||
                        number == nodecomm::kSysMountSetattr;
  if (may_fail && Fails(Call::kSyscall, CALLER)) return -1;
  return NEXT(syscall)(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

int memfd_create(const char* name, unsigned flags) noexcept {
  if (Fails(Call::kMemfd, CALLER)) return -1;
  return NEXT(memfd_create)(name, flags);
}

int ftruncate(int fd, off_t bytes) noexcept {
  if (Fails(Call::kTruncate, CALLER)) return -1;
  return NEXT(ftruncate)(fd, bytes);
}

int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (command == F_DUPFD_CLOEXEC && Fails(Call::kDuplicate, CALLER)) return -1;
  if (command == F_ADD_SEALS && Fails(Call::kSeal, CALLER)) return -1;
  return NEXT(fcntl)(fd, command, argument);
}

void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  const bool of_file = fd >= 0 && (flags & MAP_SHARED) != 0;
  if (of_file && Fails(Call::kMap, CALLER)) return MAP_FAILED;
  return NEXT(mmap)(address, bytes, protection, flags, fd, offset);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = nodecomm::ModeOf(flags, arguments);
  va_end(arguments);
  if (Fails(Call::kOpen, CALLER)) return -1;
  return NEXT(open)(path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = nodecomm::ModeOf(flags, arguments);
  va_end(arguments);
  if (Fails(Call::kOpen, CALLER)) return -1;
  return NEXT(openat)(directory, path, flags, mode);
}

ssize_t read(int fd, void* data, size_t bytes) {
  const size_t allowed =
      nodecomm::IsFile(fd) ? nodecomm::Shorten(Call::kRead, CALLER, bytes) : bytes;
  if (allowed == 0 && bytes != 0) return -1;
  return NEXT(read)(fd, data, allowed);
}

ssize_t write(int fd, const void* data, size_t bytes) {
  const size_t allowed =
      nodecomm::IsFile(fd) ? nodecomm::Shorten(Call::kWrite, CALLER, bytes) : bytes;
  if (allowed == 0 && bytes != 0) return -1;
  return NEXT(write)(fd, data, allowed);
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  const size_t allowed = nodecomm::Shorten(Call::kWriteAt, CALLER, bytes);
  if (allowed == 0 && bytes != 0) return -1;
  return NEXT(pwrite)(fd, data, allowed, offset);
}

int rename(const char* from, const char* to) noexcept {
  if (Fails(Call::kRename, CALLER)) return -1;
  return NEXT(rename)(from, to);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) noexcept {
  if (Fails(Call::kThread, CALLER)) return errno;
  return NEXT(pthread_create)(thread, attributes, run, argument);
}

}  // extern "C"
#pragma GCC visibility pop
