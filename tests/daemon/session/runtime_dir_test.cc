#include "daemon/session/runtime_dir.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr uid_t kNobody = 65534;

mode_t ModeOf(const std::string& path) {
  struct stat info = {};
  return lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

int Connect(const std::string& path, int type) {
  const UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  return connect(fd.get(), generic, sizeof(address)) == 0 ? 0 : errno;
}

// The same, as another user, in a child process.
int ConnectAs(uid_t uid, const std::string& path, int type) {
  const pid_t child = fork();
  if (child == 0) _exit(setuid(uid) == 0 ? Connect(path, type) : 255);
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

class RuntimeDirTest : public testing::Test {
 protected:
  void SetUp() override {
    // Other users pass through it.
    ASSERT_EQ(chmod(parent_.c_str(), 0755), 0);
    path_ = parent_ + "/run";
  }

  // In a mount namespace that a thread of its own enters. False: not allowed to.
  bool OnSmallFileSystem(const std::function<void()>& act) const {
    bool may_mount = true;
    std::thread([&] {
      may_mount = unshare(CLONE_NEWNS) == 0 &&
                  mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                  mount("tmpfs", parent_.c_str(), "tmpfs", 0, "size=64k,nr_inodes=64") == 0;
      if (may_mount) act();
    }).join();
    return may_mount;
  }
  // To the last byte.
  void Fill() const {
    std::ofstream filler(parent_ + "/filler");
    filler << std::string(size_t{1} << 20, 'x');
  }

  const TemporaryDirectory directory_;
  const std::string parent_ = directory_.path();
  std::string path_;
};

TEST_F(RuntimeDirTest, ModesDoNotDependOnTheUmask) {
  for (const mode_t mask : {0000u, 0022u, 0077u, 0777u}) {
    const mode_t before = umask(mask);
    {
      auto dir = RuntimeDir::Create({.path = path_});
      ASSERT_OK(dir);
      ASSERT_OK((*dir)->Listen());
      EXPECT_EQ(ModeOf(path_), 0755u);
      EXPECT_EQ(ModeOf(path_ + "/admin"), 0700u);
      EXPECT_EQ(ModeOf((*dir)->groups_path()), 0700u);
      EXPECT_EQ(ModeOf((*dir)->session_socket_path()), 0666u);
      EXPECT_EQ(ModeOf((*dir)->control_socket_path()), 0666u);
      EXPECT_EQ(ModeOf((*dir)->admin_socket_path()), 0600u);
    }
    EXPECT_EQ(umask(before), mask);
    std::filesystem::remove_all(path_);
  }
}

TEST_F(RuntimeDirTest, ModesAreConfigurable) {
  const auto dir = RuntimeDir::Create({.path = path_, .mode = 0750, .admin_mode = 0711});
  ASSERT_OK(dir);
  EXPECT_EQ(ModeOf(path_), 0750u);
  EXPECT_EQ(ModeOf(path_ + "/admin"), 0711u);
}

TEST_F(RuntimeDirTest, DirectoryThatIsThereKeepsItsMode) {
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  ASSERT_OK(RuntimeDir::Create({.path = path_}));
  EXPECT_EQ(ModeOf(path_), 0700u);
}

TEST_F(RuntimeDirTest, DirectoryThatOthersCanWriteIsRefused) {
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  ASSERT_EQ(chmod(path_.c_str(), 01777), 0);
  EXPECT_THAT(RuntimeDir::Create({.path = path_}),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr(path_), HasSubstr("--runtime-dir"))));
}

TEST_F(RuntimeDirTest, LinkInPlaceOfADirectoryOrTheLockIsNamed) {
  for (const char* name : {"/groups", "/nodecommd.lock"}) {
    std::filesystem::create_directory(path_);
    std::filesystem::create_symlink(parent_, path_ + name);
    EXPECT_THAT(RuntimeDir::Create({.path = path_}).status().message(),
                AllOf(HasSubstr(path_ + name), HasSubstr("it is a symbolic link: remove it")));
    std::filesystem::remove_all(path_);
  }
}

TEST_F(RuntimeDirTest, OwnFilesOfAnotherUserAreNamedWithWhatMendsThem) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  ASSERT_OK(RuntimeDir::Create({.path = path_}));
  ASSERT_EQ(chown(path_.c_str(), kNobody, kNobody), 0);
  const auto start = [&] {
    EXPECT_EQ(seteuid(kNobody), 0);
    const absl::Status status = RuntimeDir::Create({.path = path_}).status();
    EXPECT_EQ(seteuid(0), 0);
    return std::string(status.message());
  };
  const std::string lock = path_ + "/nodecommd.lock";
  EXPECT_THAT(start(), AllOf(HasSubstr("cannot open lock file " + lock + ": Permission denied; "),
                             HasSubstr("belongs to uid 0 and has mode 0600, but the daemon runs "
                                       "as uid 65534: chown 65534 " +
                                       lock)));
  ASSERT_EQ(chown(lock.c_str(), kNobody, kNobody), 0);
  const std::string admin = path_ + "/admin";
  EXPECT_THAT(start(), AllOf(HasSubstr("cannot open directory " + admin + ": Permission denied; "),
                             HasSubstr("mode 0700"), HasSubstr("chown 65534 " + admin)));
  ASSERT_EQ(chown(admin.c_str(), kNobody, kNobody), 0);
  ASSERT_EQ(chmod(admin.c_str(), 0), 0);
  EXPECT_THAT(start(), HasSubstr("it has mode 0000: chmod u+rwX " + admin));
}

TEST_F(RuntimeDirTest, SecondDaemonIsToldWhoIsThere) {
  auto first = RuntimeDir::Create({.path = path_});
  ASSERT_OK(first);
  const auto listeners = (*first)->Listen();
  ASSERT_OK(listeners);
  EXPECT_THAT(RuntimeDir::Create({.path = path_}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("process " + std::to_string(getpid())),
                             HasSubstr("nodecommd.lock"))));
  // And has not touched the first one's sockets.
  EXPECT_EQ(Connect((*first)->session_socket_path(), SOCK_SEQPACKET), 0);
  first->reset();
  EXPECT_THAT(RuntimeDir::Create({.path = path_}), IsOk());
}

TEST_F(RuntimeDirTest, SecondDaemonIsRefusedThoughTheLockFileWasRemoved) {
  auto first = RuntimeDir::Create({.path = path_});
  ASSERT_THAT(first, IsOk());
  const std::string lock = path_ + "/nodecommd.lock";
  ASSERT_EQ(unlink(lock.c_str()), 0);
  // Also the third, which finds the file that the second made.
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(RuntimeDir::Create({.path = path_}),
                StatusIs(absl::StatusCode::kAlreadyExists,
                         AllOf(HasSubstr("somebody removed its lock file " + lock),
                               HasSubstr("fuser -v " + path_ + "/groups"))));
  }
  first->reset();
  EXPECT_THAT(RuntimeDir::Create({.path = path_}), IsOk());
}

TEST_F(RuntimeDirTest, TellsAKilledDaemonFromOneThatEndedInOrder) {
  auto dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  EXPECT_EQ((*dir)->predecessor(), Predecessor::kEndedInOrder) << "there was none";
  dir->reset();
  dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  EXPECT_EQ((*dir)->predecessor(), Predecessor::kKilled);
  (*dir)->EndInOrder();
  dir->reset();
  dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  EXPECT_EQ((*dir)->predecessor(), Predecessor::kEndedInOrder);
}

TEST_F(RuntimeDirTest, NobodyElseCanTakeTheLock) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  // As an earlier version left it.
  ASSERT_EQ(mkdir(path_.c_str(), 0755), 0);
  std::ofstream(path_ + "/nodecommd.lock") << "1\n";
  ASSERT_EQ(chmod((path_ + "/nodecommd.lock").c_str(), 0644), 0);
  const auto dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  EXPECT_EQ(ModeOf(path_ + "/nodecommd.lock"), 0600u);
  const pid_t child = fork();
  if (child == 0) {
    if (setuid(kNobody) != 0) _exit(2);
    _exit(open((path_ + "/nodecommd.lock").c_str(), O_RDONLY) < 0 && errno == EACCES ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(RuntimeDirTest, SocketsAreGoneAtTheEnd) {
  auto dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  const std::string session = (*dir)->session_socket_path();
  const std::string admin = (*dir)->admin_socket_path();
  ASSERT_OK((*dir)->Listen());
  EXPECT_TRUE(std::filesystem::exists(session));
  dir->reset();
  EXPECT_FALSE(std::filesystem::exists(session));
  EXPECT_FALSE(std::filesystem::exists(admin));
}

TEST_F(RuntimeDirTest, TellsWhatSomebodyRemoved) {
  auto dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  const auto listeners = (*dir)->Listen();
  ASSERT_OK(listeners);
  EXPECT_EQ((*dir)->Lost(), "");
  for (const std::string name :
       {"/nodecommd.lock", "/session.sock", "/control.sock", "/admin/admin.sock",
        "/workers/session.sock", "/workers/control.sock", "/groups", "/sessions", "/admin", ""}) {
    std::filesystem::rename(path_ + name, parent_ + "/away");
    EXPECT_THAT((*dir)->Lost(), AllOf(HasSubstr(path_ + name), HasSubstr("removed")));
    std::filesystem::rename(parent_ + "/away", path_ + name);
    EXPECT_EQ((*dir)->Lost(), "") << "it is back";
  }
  std::filesystem::remove(path_ + "/session.sock");
  std::ofstream(path_ + "/session.sock") << "x";
  EXPECT_THAT((*dir)->Lost(), AllOf(HasSubstr("session.sock"), HasSubstr("replaced")));
}

TEST_F(RuntimeDirTest, SaysThatThereIsNoRoomForWhatItIsToHold) {
  const bool may_mount = OnSmallFileSystem([&] {
    const auto dir = RuntimeDir::Create({.path = path_});
    ASSERT_OK(dir);
    EXPECT_EQ((*dir)->WhyNotWritten(), "");
    EXPECT_TRUE(std::filesystem::is_empty((*dir)->groups_path()));
    Fill();
    EXPECT_THAT((*dir)->WhyNotWritten(),
                AllOf(HasSubstr("no worker can open a session: writing in " + path_ + "/sessions"),
                      HasSubstr("No space left on device"), HasSubstr("df -h")));
    EXPECT_TRUE(std::filesystem::is_empty((*dir)->sessions_path()));
    std::filesystem::remove(parent_ + "/filler");
    EXPECT_EQ((*dir)->WhyNotWritten(), "");
    // As many files as a session takes, and fewer than a group does.
    int files = 0;
    while (std::ofstream(absl::StrCat(parent_, "/file-", files))) ++files;
    for (int i = 0; i < 2; ++i) std::filesystem::remove(absl::StrCat(parent_, "/file-", i));
    EXPECT_THAT((*dir)->WhyNotWritten(), HasSubstr("no group can form: writing in " + path_));
  });
  if (!may_mount) GTEST_SKIP() << "not allowed to mount";
}

TEST_F(RuntimeDirTest, FullFileSystemKeepsNoDaemonFromFollowingAnother) {
  const bool may_mount = OnSmallFileSystem([&] {
    ASSERT_OK(RuntimeDir::Create({.path = path_}));
    Fill();
    for (int i = 0; i < 2; ++i) {
      const auto next = RuntimeDir::Create({.path = path_});
      ASSERT_OK(next);
      EXPECT_EQ((*next)->predecessor(), Predecessor::kKilled);
    }
    // An empty lock file: nobody was there who was killed.
    std::filesystem::resize_file(path_ + "/nodecommd.lock", 0);
    Fill();
    EXPECT_THAT(RuntimeDir::Create({.path = path_}),
                StatusIs(absl::StatusCode::kResourceExhausted,
                         AllOf(HasSubstr("nodecommd.lock"), HasSubstr("No space left"))));
    std::filesystem::remove(parent_ + "/filler");
    EXPECT_OK(RuntimeDir::Create({.path = path_}));
  });
  if (!may_mount) GTEST_SKIP() << "not allowed to mount";
}

TEST_F(RuntimeDirTest, SaysWhatKeepsItFromWriting) {
  const auto dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  const std::string why = (*dir)->WhyNotWritten();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_THAT(why, AllOf(HasSubstr("File too large"), HasSubstr("LimitFSIZE=")));
  EXPECT_EQ((*dir)->WhyNotWritten(), "");
}

TEST_F(RuntimeDirTest, LeavesTheSocketsOfADaemonThatCameWhenItsOwnWereRemoved) {
  auto first = RuntimeDir::Create({.path = path_});
  ASSERT_OK(first);
  const auto its_listeners = (*first)->Listen();
  ASSERT_OK(its_listeners);
  std::filesystem::remove_all(path_);
  auto second = RuntimeDir::Create({.path = path_});
  ASSERT_OK(second);
  const auto listeners = (*second)->Listen();
  ASSERT_OK(listeners);
  EXPECT_THAT((*first)->Lost(), HasSubstr("replaced"));
  first->reset();
  EXPECT_EQ(Connect((*second)->session_socket_path(), SOCK_SEQPACKET), 0);
  EXPECT_EQ(Connect((*second)->admin_socket_path(), SOCK_STREAM), 0);
  EXPECT_EQ((*second)->Lost(), "");
}

TEST_F(RuntimeDirTest, WhatAKilledDaemonLeftIsReplaced) {
  const pid_t child = fork();
  if (child == 0) {
    auto dir = RuntimeDir::Create({.path = path_});
    _exit(dir.ok() && (*dir)->Listen().ok() ? 0 : 1);  // no destructor, as when killed
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_EQ(Connect(path_ + "/session.sock", SOCK_SEQPACKET), ECONNREFUSED);
  std::ofstream(path_ + "/groups/group-1.control") << "x";
  auto dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  const auto listeners = (*dir)->Listen();
  ASSERT_OK(listeners);
  EXPECT_EQ(Connect((*dir)->session_socket_path(), SOCK_SEQPACKET), 0);
  EXPECT_EQ(Connect((*dir)->control_socket_path(), SOCK_STREAM), 0);
  EXPECT_EQ(Connect((*dir)->admin_socket_path(), SOCK_STREAM), 0);
  // Whose they are is for others to find out.
  EXPECT_TRUE(std::filesystem::exists(path_ + "/groups/group-1.control"));
}

TEST_F(RuntimeDirTest, ListenersAreNonBlockingAndCloseOnExec) {
  auto dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  const auto listeners = (*dir)->Listen();
  ASSERT_OK(listeners);
  for (const UniqueFd* fd : {&listeners->session, &listeners->control, &listeners->admin}) {
    EXPECT_NE(fcntl(fd->get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

// Who can open a session finds all that it will call.
TEST_F(RuntimeDirTest, NoSessionCanBeOpenedBeforeTheOtherSocketsListen) {
  for (const std::string other : {"/control.sock", "/admin/admin.sock", "/workers/control.sock"}) {
    const auto dir = RuntimeDir::Create({.path = path_});
    ASSERT_OK(dir);
    std::filesystem::create_directory(path_ + other);
    EXPECT_THAT((*dir)->Listen(), Not(IsOk())) << other;
    EXPECT_FALSE(std::filesystem::exists(path_ + "/workers/session.sock")) << other;
    if (!other.starts_with("/workers/")) {
      EXPECT_FALSE(std::filesystem::exists(path_ + "/session.sock")) << other;
    }
    std::filesystem::remove(path_ + other);
  }
}

TEST_F(RuntimeDirTest, OtherUsersReachTheWorkersSocketsOnly) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  auto dir = RuntimeDir::Create({.path = path_});
  ASSERT_OK(dir);
  const auto listeners = (*dir)->Listen();
  ASSERT_OK(listeners);
  EXPECT_EQ(ConnectAs(kNobody, (*dir)->session_socket_path(), SOCK_SEQPACKET), 0);
  EXPECT_EQ(ConnectAs(kNobody, (*dir)->control_socket_path(), SOCK_STREAM), 0);
  EXPECT_EQ(ConnectAs(kNobody, (*dir)->admin_socket_path(), SOCK_STREAM), EACCES);
}

TEST_F(RuntimeDirTest, WhatContainersMountHoldsTheWorkersSocketsAndNothingElse) {
  const std::string mounted = path_ + "/workers";
  {
    auto dir = RuntimeDir::Create({.path = path_, .mode = 0750});
    ASSERT_OK(dir);
    EXPECT_EQ((*dir)->workers_path(), mounted);
    EXPECT_EQ(ModeOf(mounted), 0750u);
    const auto listeners = (*dir)->Listen();
    ASSERT_OK(listeners);
    EXPECT_EQ(Connect(mounted + "/session.sock", SOCK_SEQPACKET), 0);
    EXPECT_EQ(Connect(mounted + "/control.sock", SOCK_STREAM), 0);
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(mounted)) {
      names.push_back(entry.path().filename());
    }
    EXPECT_THAT(names, UnorderedElementsAre("session.sock", "control.sock"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(mounted)) << "kept, since it may be mounted somewhere";
  auto next = RuntimeDir::Create({.path = path_});
  ASSERT_OK(next);
  const auto listeners = (*next)->Listen();
  ASSERT_OK(listeners);
  EXPECT_EQ(Connect(mounted + "/session.sock", SOCK_SEQPACKET), 0);
}

TEST_F(RuntimeDirTest, TooLongPathIsSaidSoAndNothingIsMade) {
  const std::string path = parent_ + "/" + std::string(90, 'x');
  EXPECT_THAT(RuntimeDir::Create({.path = path}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("107"), HasSubstr("shorter --runtime-dir"))));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(RuntimeDirTest, MissingParentIsNamed) {
  EXPECT_THAT(RuntimeDir::Create({.path = parent_ + "/a/b"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(parent_ + "/a/b")));
}

TEST_F(RuntimeDirTest, FileInPlaceOfTheDirectoryIsAnError) {
  std::ofstream(path_) << "x";
  EXPECT_THAT(RuntimeDir::Create({.path = path_}), Not(IsOk()));
}

}  // namespace
}  // namespace nodecomm
