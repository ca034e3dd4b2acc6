"""`multiprocessing` with fork in a script that serves: the child neither answers nor deletes, and can serve itself."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tests.faults.scripts import ended, go_on, line_of, ran, running
from tests.server.wire import Wire

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")

SERVING = """
import multiprocessing, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
fork = multiprocessing.get_context("fork")
client = HttpServerClient({root}, host="127.0.0.1")
client.start()
client.storage.write_bytes("image", b"parent" * 100_000)
"""
ROOTS = ["None", "root"]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("end", ["pass", "client.close()", "client.storage.list('/'); client.close()", "sys.exit(0)"])
def test_a_child_that_ends_leaves_server_and_files_to_its_parent(tmp_path: Path, root: str, end: str) -> None:
    code = f"""
{SERVING.format(root=root)}
def child():
    {end}
child = fork.Process(target=child)
child.start()
child.join(10)
tell(child.exitcode, client.is_running, fetched(client, "image") == (200, b"parent" * 100_000))
client.close()
"""
    assert ran(code, tmp_path) == ["0 True True"]


def test_a_pool_of_children_at_work_answers_nothing_while_the_parent_serves(tmp_path: Path) -> None:
    code = f"""
{SERVING.format(root="None")}
from concurrent.futures import ProcessPoolExecutor
def job(number):
    return number, client.is_running, os.getpid()
with ProcessPoolExecutor(4, mp_context=fork) as pool:
    first = list(pool.map(job, range(20)))
    answers = {{fetched(client, "image")[0] for _ in range(50)}}
    port = client.get_port()
    client.stop()
    try:
        HTTPConnection("127.0.0.1", port, timeout=5).connect()
        tell("somebody answers")
    except ConnectionRefusedError:
        pass
    again = HttpServerClient(host="127.0.0.1", port=port)
    again.start()
    again.close()
tell(sorted(number for number, _, _ in first) == list(range(20)))
tell({{running for _, running, _ in first}}, os.getpid() in {{pid for _, _, pid in first}}, answers)
client.close()
"""
    assert ran(code, tmp_path) == ["True", "{False} False {200}"]


def test_children_do_not_touch_the_answers_that_their_parent_keeps(tmp_path: Path) -> None:
    code = f"""
import httpserve.storage.directory.recheck
httpserve.storage.directory.recheck.SETTLED_SECONDS = 0.0
{SERVING.format(root="None")}
kept = ["a", "b", "c"]
for number, name in enumerate(kept):
    client.storage.write_bytes(name, bytes([65 + number]) * 50_000)
def all_right():
    return all(fetched(client, name) == (200, bytes([65 + number]) * 50_000) for number, name in enumerate(kept))
good = True
for _ in range(8):
    good = good and all_right() and all_right()
    child = fork.Process(target=int)
    child.start()
    child.join(10)
    good = good and all_right() and all_right()
tell(good, len(client.requests), all(record.completed for record in client.requests))
client.close()
"""
    assert ran(code, tmp_path) == ["True 96 True"]


def test_a_child_forked_in_the_middle_of_a_put_and_a_download_disturbs_neither(tmp_path: Path) -> None:
    code = f"""
{SERVING.format(root="root")}
source = os.path.join(where, "tmp", "source")
with open(source, "wb") as file:
    file.write(b"next" * 1_000_000)
def child():
    client.close()
def progress(copied, total):
    child_process = fork.Process(target=child)
    child_process.start()
    child_process.join(10)
    assert child_process.exitcode == 0
connection = HTTPConnection("127.0.0.1", client.get_port(), timeout=10)
connection.request("GET", "/image")
answer = connection.getresponse()
client.put_file("image", source, progress=progress)
tell(answer.read() == b"parent" * 100_000, fetched(client, "image") == (200, b"next" * 1_000_000))
connection.close()
client.close()
tell(names(root) if os.path.isdir(root) else [])
os.unlink(source)
"""
    assert ran(code, tmp_path) == ["True True", "[]"]


def test_a_child_serves_by_a_client_of_its_own_and_by_its_copy_of_the_parents(tmp_path: Path) -> None:
    code = f"""
{SERVING.format(root="None")}
def child():
    with HttpServerClient(host="127.0.0.1") as mine:
        mine.storage.write_bytes("image", b"child")
        assert fetched(mine, "image") == (200, b"child")
    client.start()
    assert fetched(client, "image")[0] == 200
    client.storage.write_bytes("of the child", b"x")
    client.close()
child = fork.Process(target=child)
child.start()
child.join(10)
tell(child.exitcode, client.storage.list("/") == ["/", "image"], fetched(client, "image")[0])
client.close()
"""
    assert ran(code, tmp_path) == ["0 True 200"]


def test_children_forked_while_other_threads_put_and_list_do_not_hang(tmp_path: Path) -> None:
    code = f"""
{SERVING.format(root="None")}
end = threading.Event()
def work():
    number = 0
    while not end.is_set():
        number += 1
        client.storage.write_bytes("image", bytes([number % 256]) * 1000)
        client.storage.scan("/")
        fetched(client, "image")
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
def child():
    client.close()
    with HttpServerClient(host="127.0.0.1") as mine:
        assert mine.storage.list("/") == ["/"]
codes = []
for _ in range(20):
    process = fork.Process(target=child)
    process.start()
    process.join(10)
    codes.append(process.exitcode)
end.set()
for thread in threads:
    thread.join()
tell(set(codes), client.storage.exists("image"))
client.close()
"""
    assert ran(code, tmp_path) == ["{0} True"]


def test_a_child_that_outlives_its_parent_answers_nobody(tmp_path: Path) -> None:
    code = f"""
{SERVING.format(root="None")}
reader, writer = os.pipe()
port = client.get_port()
if os.fork() == 0:
    os.close(1), os.close(2)
    sys.stdin.readline()
    os._exit(0)
tell(port)
client.close()
"""
    with running(code, tmp_path) as process:
        port = int(line_of(process))
        assert process.stdout is not None
        process.stdout.read()

        with pytest.raises(ConnectionRefusedError):
            Wire(port)
        go_on(process)
        ended(process)


def test_a_child_forked_during_a_wait_and_a_download_waits_for_nothing_and_the_parents_wait_goes_on(
    tmp_path: Path,
) -> None:
    code = f"""
{SERVING.format(root="None")}
tell(client.get_port())
sys.stdin.readline()
expected = client.expect_download("image", 20, client=lambda request: True)
waiting = threading.Thread(target=client.wait_for_download, args=("image", 20))
waiting.start()
from tests.server.waits import is_waiting
while not is_waiting(waiting.ident):
    time.sleep(0.001)
def child():
    assert [transfer.name for transfer in client.transfers] == ["image"]
    assert client.requests and client.missing == ()
    assert client.events(0)[-1].kind == "stopped" and client.events() == ()
    for wait in (client.wait_for_download, client.expect_download, client.wait_for_request):
        try:
            wait("image")
        except ServerNotRunning:
            pass
    try:
        expected.wait()
    except ServerNotRunning:
        pass
child = fork.Process(target=child)
child.start()
child.join(10)
tell(child.exitcode, waiting.is_alive())
sys.stdin.readline()
waiting.join()
tell(fetched(client, "image")[0], expected.wait().bytes)
client.close()
"""
    with running(code, tmp_path) as process, Wire(int(line_of(process)), receive_bytes=4096) as wire:
        wire.get("/image")
        wire.read_head()
        go_on(process)
        assert line_of(process) == "0 True"
        wire.read_exactly(600_000)
        go_on(process)

        assert ended(process) == ["200 600000"]


def test_a_child_says_of_what_was_under_way_what_was_acknowledged_when_it_was_forked(tmp_path: Path) -> None:
    code = f"""
{SERVING.format(root="None")}
import socket
client.storage.write_bytes("part", b"p" * 100_000)
assert fetched(client, "image")[0] == 200
client.wait_for_download("image", 20)
board = socket.socket()
board.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
board.connect(("127.0.0.1", client.get_port()))
board.sendall(b"GET /part HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
while not client.transfers or client.transfers[-1].sent != 100_000:
    time.sleep(0.001)
has_looked, has_it_all, told = fork.Event(), fork.Event(), fork.SimpleQueue()
def child():
    early = client.requests
    has_looked.set()
    has_it_all.wait(20)
    late = client.requests
    stays = [one.bytes for one in early] == [one.bytes for one in late]
    told.put((stays, [(one.name, one.outcome, one.bytes < 100_000) for one in late]))
    told.put([(one.name, one.state) for one in client.transfers])
process = fork.Process(target=child)
process.start()
has_looked.wait(20)
left = 100_000
while left > 0:
    left -= len(board.recv(65536))
client.wait_for_download("part", 20)
has_it_all.set()
tell(*told.get())
tell(*told.get())
process.join(10)
tell([(one.name, one.outcome) for one in client.requests])
board.close()
client.close()
"""
    assert ran(code, tmp_path) == [
        "True [('image', 'completed', False), ('part', 'under way', True)]",
        "('image', 'completed') ('part', 'under way')",
        "[('image', 'completed'), ('part', 'completed')]",
    ]


def test_a_child_forked_while_a_digest_is_computed_computes_its_own(tmp_path: Path) -> None:
    code = f"""
import httpserve.storage.directory.digests as digests
digests.SETTLED_SECONDS = 1e9
import httpserve.site.digest_file
httpserve.site.digest_file.WAIT_SECONDS = 1e9
{SERVING.format(root="root")}
with open(os.path.join(root, "f"), "wb") as file:
    file.write(b"large" * 1_000_000)
def computing():
    return "httpserve-digests" in [thread.name for thread in threading.enumerate()]
def child():
    digests.SETTLED_SECONDS = 0.0
    with client:
        assert not computing()
        status, line = fetched(client, "f.sha256")
        tell(status, line.decode() == hashlib.sha256(b"large" * 1_000_000).hexdigest() + "  f\\n")
asking = threading.Thread(target=lambda: tell(fetched(client, "f.sha256")[0]))
asking.start()
while not computing():
    time.sleep(0.01)
child = fork.Process(target=child)
child.start()
child.join(10)
tell(child.exitcode, computing())
client.close()
asking.join(10)
"""
    assert ran(code, tmp_path) == ["200 True", "0 True", "503"]
