"""What a stock gRPC client sees of nodecommd: health and reflection on a socket, and calls by reflection alone.

Usage: health_client.py check SOCKET SERVICE      prints SERVING, NOT_SERVING or SERVICE_UNKNOWN
       health_client.py services SOCKET           prints the services that reflection lists, sorted
       health_client.py call SOCKET METHOD        calls package.Service/Method with an empty request, prints JSON
       health_client.py watch SOCKET SERVICE      prints each state as it changes, until the stream ends
       health_client.py hold SOCKET COUNT         prints how many reflection streams are served at once, of COUNT
"""

import sys
import threading

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TIMEOUT_S = 20


def check(channel, service):
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        print("SERVICE_UNKNOWN")


def services(channel):
    for name in sorted(ProtoReflectionDescriptorDatabase(channel).get_services()):
        print(name)


def call(channel, name):
    service, method = name.split("/")
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    descriptor = pool.FindServiceByName(service).FindMethodByName(method)
    invoke = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(descriptor.output_type).FromString)
    request = GetMessageClass(descriptor.input_type)()
    print(json_format.MessageToJson(invoke(request, timeout=TIMEOUT_S)))


def watch(channel, service):
    try:
        for answer in health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S):
            print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), flush=True)
    except grpc.RpcError as error:
        print(error.code().name, flush=True)


def hold(channel, count):
    """Each stream asks once and then stays open."""
    done = threading.Event()

    def requests():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        done.wait(TIMEOUT_S)

    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    streams = [stub.ServerReflectionInfo(requests(), timeout=TIMEOUT_S) for _ in range(count)]
    served = 0
    for stream in streams:
        try:
            next(stream)
            served += 1
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
    print(served, flush=True)
    done.set()
    # Until they are over: whoever asks next is the same user.
    for stream in streams:
        try:
            for _ in stream:
                pass
        except grpc.RpcError:
            pass


def main():
    command, socket, *rest = sys.argv[1:]
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        if command == "check":
            check(channel, *rest)
        elif command == "services":
            services(channel)
        elif command == "call":
            call(channel, *rest)
        elif command == "watch":
            watch(channel, *rest)
        elif command == "hold":
            hold(channel, int(rest[0]))
        else:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
