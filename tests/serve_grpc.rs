//! The Open Inference Protocol over gRPC, asked by the client of Triton and by grpcio itself.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::serve::{serving, start};
use crate::serving::Server;
use crate::support::Tree;
use crate::venv::{must, python};

/// What both scripts begin with.
const HEAD: &str = "\
import sys, grpc, numpy
from concurrent.futures import ThreadPoolExecutor
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException
address, commit, *extra = sys.argv[1:]
c = InferenceServerClient(address)
channel = grpc.insecure_channel(address)
stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
def refused(code, ask):
    try:
        ask()
    except (InferenceServerException, grpc.RpcError) as e:
        found = e.status() if isinstance(e, InferenceServerException) else str(e.code())
        assert found == 'StatusCode.' + code, e
        return str(e)
    raise SystemExit('answered: ' + code)
";

fn client() -> &'static PathBuf {
    // Made once: tests run beside one another.
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let packages = [
            "tritonclient[grpc]==2.73.0",
            "grpcio-health-checking==1.78.0",
            "grpcio-reflection==1.78.0",
            "grpcio-tools==1.78.0",
        ];
        python("triton-grpc", &packages)
    })
}

pub(crate) fn ask(script: &str, server: &Server, commit: &str) {
    ask_with(script, server, commit, &[]);
}

fn ask_with(script: &str, server: &Server, commit: &str, extra: &[&str]) {
    let script = format!("{HEAD}{script}");
    let mut command = Command::new(client());
    command.args(["-c", &script, &server.address, commit]);
    must(command.args(extra));
}

#[test]
fn the_open_inference_protocol_is_spoken_over_grpc() {
    let code = "import time\n\
        def predict(rows: list[list[float]]) -> list[float]:\n    \
            if rows[0][0] == 13: raise ValueError('13 is 100% \u{fc}ble')\n    \
            if rows[0][0] == 9: time.sleep(60)\n    \
            return [sum(r) for r in rows]\n";
    let tree = serving(code, "batch = 16\nbody-bytes-max = 100000\n");
    let server = start(&tree, &[]);
    let commit = tree.id("HEAD");
    let script = "
assert c.is_server_live() and c.is_server_ready() and c.is_model_ready('HEAD') and c.is_model_ready('HEAD', commit[:12])
about = c.get_server_metadata()
assert about.name == 'modelv' and about.version, about
about = c.get_model_metadata('HEAD')
assert list(about.versions) == [commit], about
assert (about.inputs[0].name, about.inputs[0].datatype, list(about.inputs[0].shape)) == ('inputs', 'FP64', [-1, -1])
assert (about.outputs[0].name, about.outputs[0].datatype) == ('predictions', 'FP64')
def tensor(rows, kind='FP32'):
    x = InferInput('rows', list(rows.shape), kind)
    x.set_data_from_numpy(rows)
    return x
rows = numpy.array([[1, 2], [3, 4.5]], dtype=numpy.float32)
for outputs in (None, [InferRequestedOutput('sums')]):
    got = c.infer('HEAD', [tensor(rows)], outputs=outputs, request_id='7')
    y = got.as_numpy('sums' if outputs else 'predictions')
    assert y.dtype == numpy.float64 and y.tolist() == [3.0, 7.5], y
    assert got.get_response().model_version == commit and got.get_response().id == '7'
# Typed contents are answered with typed contents.
def typed(first):
    request = service_pb2.ModelInferRequest(model_name='HEAD', id='8')
    x = request.inputs.add(name='rows', datatype='FP64', shape=[2, 2])
    x.contents.fp64_contents.extend([first, 2, 3, 4.5])
    return request
response, call = stub.ModelInfer.with_call(typed(1), metadata=[('x-request-id', 'own')])
assert list(response.outputs[0].contents.fp64_contents) == [3.0, 7.5] and not response.raw_output_contents
head = dict(call.initial_metadata())
assert head['x-modelv-commit'] == commit and head['x-request-id'] == 'own', head
# Many at a time on one connection.
with ThreadPoolExecutor(32) as pool:
    for n, response in enumerate(pool.map(lambda n: stub.ModelInfer(typed(100 + n)), range(300))):
        assert response.outputs[0].contents.fp64_contents[0] == 102 + n
# Each failure has its code.
refused('NOT_FOUND', lambda: c.infer('other', [tensor(rows)]))
refused('NOT_FOUND', lambda: c.infer('HEAD', [tensor(rows)], model_version='0000000'))
refused('NOT_FOUND', lambda: c.get_model_metadata('other'))
texts = numpy.array(['a'], dtype=object)
assert 'is not array' in refused('INVALID_ARGUMENT', lambda: c.infer('HEAD', [tensor(texts, 'BYTES')]))
refused('INVALID_ARGUMENT', lambda: stub.ModelInfer(service_pb2.ModelInferRequest(model_name='HEAD')))
assert '13 is 100% \u{fc}ble' in refused('INTERNAL', lambda: stub.ModelInfer(typed(13)))
large = numpy.zeros((200, 200), dtype=numpy.float64)
refused('RESOURCE_EXHAUSTED', lambda: c.infer('HEAD', [tensor(large, 'FP64')]))
long = typed(1)
long.parameters['long'].string_param = 'x' * 10000
assert stub.ModelInfer(long).id == '8'
refused('UNIMPLEMENTED', lambda: stub.ModelInfer(long, compression=grpc.Compression.Gzip))
for path in ('/inference.GRPCInferenceService/Nothing', '/other.Service/Method'):
    refused('UNIMPLEMENTED', lambda: channel.unary_unary(path)(b''))
refused('INVALID_ARGUMENT', lambda: channel.unary_unary('/inference.GRPCInferenceService/ModelInfer')(b'\\xff\\xff'))
bomb = b'\\x2a\\x00' * 40000
refused('INVALID_ARGUMENT', lambda: channel.unary_unary('/inference.GRPCInferenceService/ModelInfer')(bomb))
refused('DEADLINE_EXCEEDED', lambda: stub.ModelInfer(typed(9), timeout=0.3))
";
    ask(script, &server, &commit);
    server.wait_for("\"path\":\"/grpc/ModelInfer\"");
    // Over HTTP/1.1 there are no trailers.
    let (status, _, said) = server.ask("POST", "/inference.GRPCInferenceService/ServerLive", "");
    assert_eq!(status, 415, "{said}");
    server.stop();
}

#[test]
fn several_inputs_and_columns_have_names_over_grpc() {
    let code = "def predict(n: list[int], text: list[str]):\n    \
        return {'twice': [2 * x for x in n], 'upper': [t.upper() for t in text], 'odd': [x % 2 == 1 for x in n]}\n";
    let tree = serving(code, "");
    let server = start(&tree, &[]);
    let script = "
n = InferInput('n', [2], 'INT16')
n.set_data_from_numpy(numpy.array([-3, 4], dtype=numpy.int16))
text = InferInput('text', [2], 'BYTES')
text.set_data_from_numpy(numpy.array(['a', '\u{fc}'], dtype=object))
got = c.infer('HEAD', [n, text])
assert got.as_numpy('twice').tolist() == [-6, 8]
assert got.as_numpy('odd').tolist() == [True, False]
assert [t.decode() for t in got.as_numpy('upper')] == ['A', '\u{dc}']
got = c.infer('HEAD', [n, text], outputs=[InferRequestedOutput('upper')])
assert [o.name for o in got.get_response().outputs] == ['upper']
";
    ask(script, &server, &tree.id("HEAD"));
    server.stop();
}

#[test]
fn a_bomb_of_empty_texts_is_bounded() {
    // Empty elements are two bytes each, and a value in memory is 32.
    let code = "def predict(x: list[str]) -> int:\n    return len(x)\n";
    // As patient as a busy machine needs.
    let tree = serving(code, "body-bytes-max = 1048576\ntimeout-ms = 300000\n");
    let server = start(&tree, &[]);
    let script = "
request = service_pb2.ModelInferRequest(model_name='HEAD')
x = request.inputs.add(name='x', datatype='BYTES', shape=[500000])
x.contents.bytes_contents.extend([b''] * 500000)
stub.ModelInfer(request)
def one(_):
    return stub.ModelInfer(request).outputs[0].contents.int64_contents[0]
with ThreadPoolExecutor(24) as pool:
    assert set(pool.map(one, range(48))) == {500000}
";
    ask(script, &server, &tree.id("HEAD"));
    let peak = crate::serve::memory(server.child.id(), "VmHWM");
    assert!(peak < 220 << 10, "{peak} KiB at most");
    server.stop();
}

#[test]
fn health_is_told_as_probes_ask_for_it() {
    let tree = serving("def predict(x):\n    return x\n", "");
    let server = start(&tree, &[]);
    let script = "
from grpc_health.v1 import health_pb2, health_pb2_grpc
health = health_pb2_grpc.HealthStub(channel)
of = lambda service: health_pb2.HealthCheckRequest(service=service)
for service in ('', 'inference.GRPCInferenceService', 'grpc.health.v1.Health', 'HEAD', commit):
    assert health.Check(of(service)).status == health_pb2.HealthCheckResponse.SERVING, service
refused('NOT_FOUND', lambda: health.Check(of('other')))
refused('UNIMPLEMENTED', lambda: channel.unary_unary('/grpc.health.v1.Health/Other')(b''))
refused('INVALID_ARGUMENT', lambda: channel.unary_unary('/grpc.health.v1.Health/Check')(b'\\xff'))
";
    ask(script, &server, &tree.id("HEAD"));
    let (status, _, said) = server.ask("POST", "/grpc.health.v1.Health/Check", "");
    assert_eq!(status, 415, "{said}");
    server.stop();
}

#[test]
fn whoever_watches_the_health_is_told_of_each_change() {
    // Its worker ends when it is told to, and begins again only once it may.
    let code = "import os, time\nwhile os.path.exists(os.environ['HOLD']): time.sleep(0.01)\n\
        def predict(x):\n    if x == 'end': os._exit(1)\n    return x\n";
    let tree = serving(code, "");
    let hold = tree.path("hold");
    let mut command = tree.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("HOLD", &hold);
    let server = Server::start(command);
    let script = "
import os, signal, threading
from grpc_health.v1 import health_pb2, health_pb2_grpc
health = health_pb2_grpc.HealthStub(channel)
of = lambda service: health_pb2.HealthCheckRequest(service=service)
SERVING, NOT, UNKNOWN = (health_pb2.HealthCheckResponse.ServingStatus.Value(n) for n in ('SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'))
watches = [health.Watch(of(s)) for s in ('', 'inference.GRPCInferenceService', 'HEAD', commit)]
assert [next(w).status for w in watches] == [SERVING] * 4
assert dict(watches[0].initial_metadata())['x-modelv-commit'] == commit
# One that is not known may come: it is no error.
unknown = health.Watch(of('other'))
assert next(unknown).status == UNKNOWN
hold, server = extra
open(hold, 'w').close()
request = service_pb2.ModelInferRequest(model_name='HEAD')
x = request.inputs.add(name='x', datatype='BYTES', shape=[])
x.contents.bytes_contents.append(b'end')
assert 'ended while it worked' in refused('UNAVAILABLE', lambda: stub.ModelInfer(request))
assert [next(w).status for w in watches] == [NOT] * 4
assert health.Check(of('')).status == NOT
os.remove(hold)
assert [next(w).status for w in watches] == [SERVING] * 4
assert health.Check(of('')).status == SERVING
# A server that ends says so, and nobody who watches keeps it.
watches[0].cancel()
os.kill(int(server), signal.SIGTERM)
for w in watches[1:]:
    assert next(w).status == NOT
    refused('UNAVAILABLE', lambda: next(w))
refused('UNAVAILABLE', lambda: next(unknown))
";
    let pid = server.child.id().to_string();
    let extra = [hold.to_str().unwrap(), &pid];
    ask_with(script, &server, &tree.id("HEAD"), &extra);
    server.wait();
}

#[test]
fn a_client_without_descriptions_asks_for_them() {
    let tree = serving(
        "def predict(x: list[int]) -> list[int]:\n    return x\n",
        "",
    );
    let server = start(&tree, &[]);
    let script = "
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
# This package speaks v1alpha, which differs in its name alone.
info = '/grpc.reflection.%s.ServerReflection/ServerReflectionInfo'
def ask(version, questions):
    method = channel.stream_stream(info % version,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    return list(method(iter(questions)))
Question = reflection_pb2.ServerReflectionRequest
for version in ('v1', 'v1alpha'):
    services, symbol, missing = ask(version, [Question(list_services='*'),
        Question(file_containing_symbol='inference.ModelInferRequest'), Question(file_by_filename='no.proto')])
    names = [s.name for s in services.list_services_response.service]
    assert names == ['grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection', 'inference.GRPCInferenceService'], names
    assert len(symbol.file_descriptor_response.file_descriptor_proto) == 1
    assert symbol.original_request.file_containing_symbol == 'inference.ModelInferRequest'
    assert missing.error_response.error_code == 5 and 'no.proto' in missing.error_response.error_message, missing
# Asked with what was told here alone, it answers.
pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
service = pool.FindServiceByName('inference.GRPCInferenceService')
method = service.FindMethodByName('ModelInfer')
Request, Response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
request = Request(model_name='HEAD')
request.inputs.add(name='x', datatype='INT64', shape=[2]).contents.int64_contents.extend([4, 5])
infer = channel.unary_unary('/inference.GRPCInferenceService/ModelInfer', Request.SerializeToString, Response.FromString)
response = infer(request)
assert list(response.outputs[0].contents.int64_contents) == [4, 5] and response.model_version == commit
# What is told is what the client of Triton has, number by number, and is answered.
def fields(message):
    return {f.number: (f.name, f.type, f.label, f.message_type and f.message_type.name) for f in message.fields}
def same(ours, theirs):
    for number, field in fields(ours).items():
        # One name of Triton's file is its own.
        assert fields(theirs)[number][1:3] == field[1:3] and fields(theirs)[number][0] == field[0], (field, fields(theirs)[number])
    for inner in ours.nested_types:
        if not inner.GetOptions().map_entry:
            same(inner, theirs.nested_types_by_name[inner.name])
known = service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService']
for m in service.methods:
    theirs = known.methods_by_name[m.name]
    same(m.input_type, theirs.input_type)
    same(m.output_type, theirs.output_type)
same(pool.FindMessageTypeByName('inference.InferTensorContents'), service_pb2.InferTensorContents.DESCRIPTOR)
same(pool.FindMessageTypeByName('inference.InferParameter'), service_pb2.InferParameter.DESCRIPTOR)
for name in names:
    for m in pool.FindServiceByName(name).methods:
        path = '/%s/%s' % (name, m.name)
        call = channel.stream_stream(path)(iter([b'']))
        try:
            next(call)
        except grpc.RpcError as e:
            assert e.code() != grpc.StatusCode.UNIMPLEMENTED, (path, e)
        call.cancel()
refused('UNIMPLEMENTED', lambda: channel.unary_unary('/grpc.reflection.v1.ServerReflection/Other')(b''))
refused('INVALID_ARGUMENT', lambda: ask('v1', [Question()]))
refused('RESOURCE_EXHAUSTED', lambda: ask('v1', [Question(list_services='x' * 10000)]))
";
    ask(script, &server, &tree.id("HEAD"));
    server.stop();
}

#[test]
fn the_descriptions_are_made_of_their_files() {
    let grpc = concat!(env!("CARGO_MANIFEST_DIR"), "/../modelv-serve/src/grpc");
    let tree = Tree::empty();
    let made = tree.path("made");
    let mut command = Command::new(client());
    command
        .args(["-m", "grpc_tools.protoc", "-I."])
        .current_dir(format!("{grpc}/protos"));
    command.arg(format!("--descriptor_set_out={}", made.display()));
    must(command.args([
        "inference.proto",
        "grpc/health/v1/health.proto",
        "grpc/reflection/v1/reflection.proto",
        "grpc/reflection/v1alpha/reflection.proto",
    ]));
    let have = std::fs::read(format!("{grpc}/services.binpb")).unwrap();
    assert!(
        std::fs::read(made).unwrap() == have,
        "make `services.binpb` anew"
    );
}
