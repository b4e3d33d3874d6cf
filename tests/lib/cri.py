# SPDX-License-Identifier: Apache-2.0
"""A Container Runtime Interface client over gRPC: runtime.v1 as containerd serves it on its socket."""
import os
import sys
import tempfile

import grpc
from grpc_tools import protoc

LIB = os.path.dirname(os.path.abspath(__file__))


def compile_messages():
    """The message classes, generated from cri.proto into a directory that is gone when the classes are loaded."""
    with tempfile.TemporaryDirectory() as out:
        if protoc.main(["protoc", f"-I{LIB}", f"--python_out={out}", f"{LIB}/cri.proto"]) != 0:
            raise RuntimeError("cri.proto does not compile")
        sys.path.insert(0, out)
        try:
            import cri_pb2  # pylint: disable=import-error,import-outside-toplevel
        finally:
            sys.path.remove(out)
    return cri_pb2


pb = compile_messages()


class Cri:
    """Cri(address).RunPodSandbox(config=..., runtime_handler="husk", deadline=60): one method per RPC, fields as keywords."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(f"unix://{address}")
        for method in pb.DESCRIPTOR.services_by_name["RuntimeService"].methods:
            request = getattr(pb, method.input_type.name)
            response = getattr(pb, method.output_type.name)
            call = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method.name}",
                                            request_serializer=request.SerializeToString, response_deserializer=response.FromString)
            setattr(self, method.name, self._bind(call, request))

    @staticmethod
    def _bind(call, request):
        slow = float(os.environ.get("HUSK_TEST_SLOW", "1"))
        return lambda deadline=60 * slow, **fields: call(request(**fields), timeout=deadline)

    def close(self):
        self.channel.close()
