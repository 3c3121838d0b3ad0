/* One rank of a group: worker_c RANK WORLD_SIZE. Sums a vector with its peers and says the first
 * element. On a simulated host, where any memory will do; on GPUs the buffers are the device's and
 * the stream the caller's. */
#include <nodecomm/nodecomm.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  nodecomm_options options = {.struct_size = sizeof options,
                              .name = "consumer",
                              .world_size = atoi(argv[2]),
                              .rank = atoi(argv[1]),
                              .device = atoi(argv[1])};
  nodecomm_comm* comm = NULL;
  float values[256];
  for (int i = 0; i < 256; ++i) values[i] = (float)(options.rank + 1);
  if (nodecomm_comm_create(&options, &comm) != NODECOMM_OK ||
      nodecomm_all_reduce(comm, values, values, 256, NODECOMM_FLOAT32, NODECOMM_SUM, NULL) !=
          NODECOMM_OK ||
      nodecomm_comm_leave(comm) != NODECOMM_OK) {
    fprintf(stderr, "rank %d: %s\n", options.rank, nodecomm_last_error());
    return 1;
  }
  nodecomm_comm_destroy(comm);
  printf("%g\n", values[0]);
  return 0;
}
