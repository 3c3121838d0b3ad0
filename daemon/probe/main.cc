// nodecomm-probe: proves peer access between two GPUs for nodecommd, in a process of its own, whose
// CUDA contexts end with it. Not started by people. Design note: daemon/probe/README.md.
#include "daemon/probe/run_probe.h"

int main(int argc, char** argv) {
  return nodecomm::probe::RunProbe(argc, argv, nodecomm::probe::MakeRealPair);
}
