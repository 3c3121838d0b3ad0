/* A program in C that uses the public header alone: two ranks as threads, an all-reduce, an
 * unsupported type, a shared buffer. Expects a simulated host in NODECOMM_RUNTIME_DIR. Exit code 0:
 * all was as expected. */
#include <nodecomm/nodecomm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kRanks = 2, kCount = 1000 };

static void Require(int condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "%s: %s\n", what, nodecomm_last_error());
  exit(1);
}

static void ReduceOnce(nodecomm_comm* comm, int rank) {
  float in[kCount];
  float out[kCount];
  for (int i = 0; i < kCount; ++i) in[i] = (float)(rank + i);
  Require(nodecomm_all_reduce(comm, in, out, kCount, NODECOMM_FLOAT32, NODECOMM_SUM, NULL) ==
              NODECOMM_OK,
          "all-reduce");
  for (int i = 0; i < kCount; ++i) Require(out[i] == (float)(1 + 2 * i), "sum");
}

static void RefuseWhatIsUnknown(nodecomm_comm* comm) {
  float value = 0;
  const char* reason = NULL;
  const nodecomm_type type = (nodecomm_type)7;
  Require(nodecomm_all_reduce(comm, &value, &value, 1, type, NODECOMM_SUM, NULL) ==
              NODECOMM_INVALID_ARGUMENT,
          "all-reduce of an unknown type");
  Require(strstr(nodecomm_last_error(), "type 7") != NULL, "message on the type");
  Require(nodecomm_comm_supports(comm, 4, type, &reason) == 0, "support of an unknown type");
  Require(strstr(reason, "float32") != NULL, "reason for the type");
  Require(nodecomm_all_reduce(comm, &value, &value, 1, NODECOMM_FLOAT32, (nodecomm_op)3, NULL) ==
              NODECOMM_INVALID_ARGUMENT,
          "unknown operation");
  Require(nodecomm_all_reduce(NULL, &value, &value, 1, NODECOMM_FLOAT32, NODECOMM_SUM, NULL) ==
              NODECOMM_INVALID_ARGUMENT,
          "null communicator");
}

static void ShareOnce(nodecomm_comm* comm, int rank) {
  nodecomm_shared* shared = NULL;
  Require(nodecomm_shared_allocate(comm, 100, &shared) == NODECOMM_OK, "shared buffer");
  Require(nodecomm_shared_bytes(shared) == 100, "size of the shared buffer");
  Require(nodecomm_shared_pointer(shared, kRanks) == NULL, "pointer of no rank");
  ((char*)nodecomm_shared_pointer(shared, 1 - rank))[rank] = 'x';
  ReduceOnce(comm, rank); /* both have written */
  Require(((char*)nodecomm_shared_pointer(shared, rank))[1 - rank] == 'x', "the peer's write");
  nodecomm_shared_free(shared);
}

static void* RunRank(void* argument) {
  const int rank = *(const int*)argument;
  nodecomm_options options;
  nodecomm_info info;
  nodecomm_comm* comm = NULL;
  memset(&options, 0, sizeof(options));
  options.struct_size = sizeof(options);
  options.name = "c-program";
  options.world_size = kRanks;
  options.rank = rank;
  options.device = rank;
  Require(nodecomm_comm_create(&options, &comm) == NODECOMM_OK, "create");
  memset(&info, 0, sizeof(info));
  info.struct_size = sizeof(info);
  Require(nodecomm_comm_info(comm, &info) == NODECOMM_OK, "info");
  Require(info.platform == NODECOMM_PLATFORM_SIMULATED && info.rank == rank, "info's content");
  Require(nodecomm_comm_supports(comm, 4000, NODECOMM_FLOAT32, NULL) == 1, "support");
  ReduceOnce(comm, rank);
  RefuseWhatIsUnknown(comm);
  Require(nodecomm_comm_status(comm) == NODECOMM_OK,
          "status"); /* nobody leaves before the next call */
  ShareOnce(comm, rank);
  Require(nodecomm_comm_leave(comm) == NODECOMM_OK, "leave");
  nodecomm_comm_destroy(comm);
  return NULL;
}

static void RefuseBadOptions(void) {
  nodecomm_options options;
  nodecomm_comm* comm = (nodecomm_comm*)&options;
  memset(&options, 0, sizeof(options));
  Require(nodecomm_comm_create(&options, &comm) == NODECOMM_INVALID_ARGUMENT, "no struct_size");
  Require(comm == NULL, "comm after a failure");
  Require(nodecomm_comm_create(NULL, &comm) == NODECOMM_INVALID_ARGUMENT, "null options");
  Require(nodecomm_comm_create(&options, NULL) == NODECOMM_INVALID_ARGUMENT, "null comm");
}

int main(void) {
  pthread_t threads[kRanks];
  int ranks[kRanks];
  uint8_t key[NODECOMM_KEY_BYTES];
  Require(nodecomm_random_key(key) == NODECOMM_OK, "key");
  Require(strcmp(nodecomm_result_name(NODECOMM_ABORTED), "NODECOMM_ABORTED") == 0, "result's name");
  Require(strcmp(nodecomm_algorithm_name(NODECOMM_ALGORITHM_COPY), "copy") == 0,
          "algorithm's name");
  Require(strlen(nodecomm_version()) > 0, "version");
  nodecomm_comm_destroy(NULL);
  nodecomm_shared_free(NULL);
  RefuseBadOptions();
  for (int rank = 0; rank < kRanks; ++rank) {
    ranks[rank] = rank;
    pthread_create(&threads[rank], NULL, &RunRank, &ranks[rank]);
  }
  for (int rank = 0; rank < kRanks; ++rank) pthread_join(threads[rank], NULL);
  puts("ok");
  return 0;
}
