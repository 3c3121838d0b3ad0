"""One rank of two, in a process that also serves and calls gRPC with grpcio.

Not an example of how to use libnodecomm from Python: it is a test, with ctypes and without numpy.
Usage: grpcio_rank.py LIBNODECOMM RANK. Rank 0 loads grpcio first, rank 1 libnodecomm.
"""

import ctypes
import sys
from concurrent import futures

RANKS = 2
COUNT = 1001
FLOAT32 = 0
SUM = 0


class Options(ctypes.Structure):
    """nodecomm_options of nodecomm.h."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("key", ctypes.c_void_p),
        ("world_size", ctypes.c_int),
        ("rank", ctypes.c_int),
        ("device", ctypes.c_int),
        ("plane_bytes", ctypes.c_size_t),
        ("algorithm", ctypes.c_int),
        ("rendezvous_timeout_ms", ctypes.c_int64),
        ("call_timeout_ms", ctypes.c_int64),
        ("runtime_dir", ctypes.c_char_p),
    ]


def load_nodecomm(path):
    library = ctypes.CDLL(path)
    library.nodecomm_last_error.restype = ctypes.c_char_p
    library.nodecomm_all_reduce.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
        ctypes.c_int, ctypes.c_void_p]
    library.nodecomm_comm_destroy.argtypes = [ctypes.c_void_p]
    return library


def start_server():
    """A gRPC server in this process whose one method answers with what it got, twice."""
    import grpc

    def handler(details):
        if details.method != "/test.Echo/Twice":
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request * 2)

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return handler(details)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def call_server(port):
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = channel.unary_unary("/test.Echo/Twice")(b"ab", timeout=20)
    assert answer == b"abab", answer


def all_reduce(library, rank):
    def check(result, what):
        if result != 0:
            sys.exit(f"rank {rank}: {what}: {library.nodecomm_last_error().decode()}")

    options = Options(struct_size=ctypes.sizeof(Options), name=b"beside-grpcio", world_size=RANKS,
                      rank=rank, device=rank)
    communicator = ctypes.c_void_p()
    check(library.nodecomm_comm_create(ctypes.byref(options), ctypes.byref(communicator)), "create")
    values = (ctypes.c_float * COUNT)(*[float(i + 1000 * rank) for i in range(COUNT)])
    sums = (ctypes.c_float * COUNT)()
    yield
    check(library.nodecomm_all_reduce(communicator, values, sums, COUNT, FLOAT32, SUM, None),
          "all-reduce")
    wrong = [i for i in range(COUNT) if sums[i] != 2 * i + 1000]
    if wrong:
        sys.exit(f"rank {rank}: {len(wrong)} wrong elements, first {wrong[0]}: {sums[wrong[0]]}")
    yield
    library.nodecomm_comm_destroy(communicator)


def main():
    path, rank = sys.argv[1], int(sys.argv[2])
    if rank == 0:
        server, port = start_server()
        library = load_nodecomm(path)
    else:
        library = load_nodecomm(path)
        server, port = start_server()
    call_server(port)
    # Both at work in turns: joined, grpcio called, all-reduced, grpcio called again.
    for _ in all_reduce(library, rank):
        call_server(port)
    server.stop(None).wait()


if __name__ == "__main__":
    main()
