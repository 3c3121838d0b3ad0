#include "client/cli/interrupt_note.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstddef>

namespace nodecomm {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM};

// Where a handler can read it.
std::array<char, 256> g_line;
size_t g_length = 0;

void SayIt(int signal_number) {
  // Whether it is written or not, the program ends.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, g_line.data(), g_length);
  raise(signal_number);  // comes when this handler is done, and finds the default again
}

void Handle(void (*handler)(int)) {
  for (const int signal_number : kSignals) {
    struct sigaction known = {};
    sigaction(signal_number, nullptr, &known);
    if (known.sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = handler;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(signal_number, &action, nullptr);
  }
}

}  // namespace

InterruptNote::InterruptNote(std::string_view line) {
  g_length = line.copy(g_line.data(), g_line.size() - 1);
  g_line[g_length++] = '\n';
  Handle(SayIt);
}

InterruptNote::~InterruptNote() { Handle(SIG_DFL); }

}  // namespace nodecomm
