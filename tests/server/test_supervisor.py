"""Several workers under a supervisor: none is missed for long, none outlives it, a stop loses nothing. CR-05, CR-42."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from registry.server import supervisor
from registry.server.supervisor import apart
from tests.certificates import Pair, make_pair
from tests.running import wait_until
from tests.server.conftest import ROOT, EchoServer, collect, read_all

HOLD = b"POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
COUNT = 3

StartCrew = Callable[..., EchoServer]


@pytest.fixture
def start_crew(tmp_path: Path) -> Iterator[StartCrew]:
    """Start workers that echo; what is left of them at the end is killed."""
    running: list[tuple[EchoServer, threading.Thread]] = []

    def start(*, stop_limit_s: float = 60, tls: Pair | None = None, starts: bool = True) -> EchoServer:
        command = [sys.executable, "-m", "tests.server.echo_crew", str(COUNT), str(tmp_path), str(stop_limit_s)]
        command += [str(tls.cert), str(tls.key)] if tls else []
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        crew = EchoServer(process)
        reader = threading.Thread(target=collect, args=(crew,), daemon=True)
        reader.start()
        running.append((crew, reader))
        if starts:
            crew.started = crew.wait_for("started")
            crew.ports = crew.started["ports"]
        return crew

    yield start
    for crew, reader in running:
        crew.process.kill()
        crew.process.wait()
        # The workers hold its standard output: when they have gone, the reader ends.
        reader.join(20)
        assert not reader.is_alive(), "a worker outlived its supervisor"
        assert crew.process.stdout is not None
        crew.process.stdout.close()


def workers_of(crew: EchoServer) -> list[int]:
    """The process ids of its living workers."""
    children = Path(f"/proc/{crew.process.pid}/task/{crew.process.pid}/children").read_text(encoding="ascii")
    return [int(pid) for pid in children.split()]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="ascii")


def events_until_returned(crew: EchoServer) -> list[str]:
    names: list[str] = []
    while not names or names[-1] != "returned":
        names.append(crew.events.get(timeout=20)["event"])
    return names


def ask(crew: EchoServer) -> bytes:
    with crew.connect() as client:
        client.sendall(GET)
        return read_all(client, silence_s=10)


def start_upload(crew: EchoServer) -> socket.socket:
    """Half an upload, which a worker holds."""
    upload = crew.connect()
    upload.sendall(HOLD + b"hello")
    crew.wait_for("holding")
    return upload


def test_all_workers_serve_and_a_stop_is_a_success(start_crew: StartCrew) -> None:
    crew = start_crew()
    assert len(workers_of(crew)) == COUNT
    assert b" 200 " in ask(crew)
    crew.signal()
    names = events_until_returned(crew)
    assert [names.count(name) for name in ("draining", "stopped", "ended")] == [COUNT, COUNT, COUNT]
    assert crew.process.wait(20) == 0


def test_connections_are_shared_out_evenly(start_crew: StartCrew) -> None:
    crew = start_crew()
    clients = [crew.connect() for _ in range(10 * COUNT)]
    shares: Counter[int] = Counter()
    for client in clients:
        with client:
            client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            shares[int(read_all(client, silence_s=10).rpartition(b"\n")[2])] += 1
    # All but one could be one too many where they came faster than the workers could tell each other.
    assert max(shares.values()) <= 10 + COUNT, shares


def test_a_killed_worker_is_replaced_and_the_others_are_not(start_crew: StartCrew) -> None:
    crew = start_crew()
    before = workers_of(crew)
    os.kill(before[0], signal.SIGKILL)
    crew.wait_for("ended")
    fresh = crew.wait_for("worker started")
    assert fresh["pid"] not in before
    assert {*before[1:], fresh["pid"]} == set(workers_of(crew))


def test_who_connects_while_no_worker_lives_is_served_by_the_next(start_crew: StartCrew) -> None:
    """The sockets stay open in the supervisor, and with them what waits to be accepted."""
    crew = start_crew()
    # Stopped, so that none of them takes the connection before it is killed.
    stopped = workers_of(crew)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    with crew.connect() as client:
        client.sendall(GET)
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
        assert b" 200 " in read_all(client, silence_s=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_at_once_is_one_stop(start_crew: StartCrew, number: int) -> None:
    """As Ctrl-C at a terminal and some service managers do: running requests end all the same."""
    crew = start_crew()
    with start_upload(crew) as upload:
        os.killpg(crew.process.pid, number)
        crew.wait_for("draining")
        upload.sendall(b"world")
        assert b'"body": "helloworld"' in read_all(upload, silence_s=10)
    assert "put aside" not in events_until_returned(crew)
    assert crew.process.wait(20) == 0


def test_new_requests_are_served_while_one_worker_still_drains(start_crew: StartCrew) -> None:
    crew = start_crew()
    with start_upload(crew) as upload:
        crew.signal()
        crew.wait_for("draining")
        assert b" 200 " in ask(crew)
        upload.sendall(b"world")
        assert b" 200 " in read_all(upload, silence_s=10)
    events_until_returned(crew)
    with pytest.raises(ConnectionRefusedError):
        crew.connect()


def test_a_second_signal_cuts_the_waiting(start_crew: StartCrew) -> None:
    crew = start_crew()
    with start_upload(crew):
        crew.signal(signal.SIGINT)
        crew.wait_for("draining")
        began = time.monotonic()
        crew.signal(signal.SIGTERM)
        assert "put aside" in events_until_returned(crew)
        assert time.monotonic() - began < 4
    assert crew.process.wait(20) == 0


def test_no_worker_outlives_a_supervisor_that_is_killed(start_crew: StartCrew) -> None:
    crew = start_crew()
    workers = workers_of(crew)
    with start_upload(crew):
        crew.process.kill()
        wait_until(lambda: all(map(is_gone, workers)), limit_s=10, what="the end of the workers")
    with pytest.raises(ConnectionRefusedError):
        crew.connect()


def test_workers_that_cannot_start_end_it_with_their_status(start_crew: StartCrew, tmp_path: Path) -> None:
    (tmp_path / "fail").write_text("2", encoding="ascii")
    crew = start_crew(starts=False)
    assert "worker started" not in events_until_returned(crew)
    assert crew.process.wait(20) == 2


def test_who_dies_at_once_is_started_again_ever_more_slowly(start_crew: StartCrew, tmp_path: Path) -> None:
    crew = start_crew()
    failing = tmp_path / "fail"
    failing.write_text("2", encoding="ascii")
    os.kill(workers_of(crew)[0], signal.SIGKILL)
    waits: list[float] = []
    while len(waits) < 4:
        waits.append(crew.logs.get(timeout=20)["after_s"])
    assert waits[1:] == sorted(set(waits[1:])) and waits[-1] > 0.3
    assert b" 200 " in ask(crew)
    failing.unlink()
    crew.wait_for("worker started")
    assert len(workers_of(crew)) == COUNT


def test_no_death_is_one_too_many() -> None:
    """The wait stays what it is, however often a worker has died at its start."""
    crew = supervisor._Supervisor(cast("Any", None), 1, [], 0, 1)
    waits = [crew._put_off(1, is_early=True) for _ in range(5000)]
    assert waits[0] == supervisor.RESTART_FIRST_S and set(waits[10:]) == {supervisor.RESTART_MAX_S}


def test_where_no_process_can_be_made_it_is_tried_again(start_crew: StartCrew) -> None:
    """A full table of processes ends nobody who runs."""
    crew = start_crew()
    limits = resource.prlimit(crew.process.pid, resource.RLIMIT_NOFILE)
    # A worker needs a pair of sockets; without room for them it cannot be started.
    resource.prlimit(crew.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    os.kill(workers_of(crew)[0], signal.SIGKILL)
    assert crew.logs.get(timeout=20)["text"] == "a worker has ended, and is started again"
    assert crew.logs.get(timeout=20)["text"] == "the system has no room for another process"
    assert b" 200 " in ask(crew)
    resource.prlimit(crew.process.pid, resource.RLIMIT_NOFILE, limits)
    crew.wait_for("worker started")
    assert len(workers_of(crew)) == COUNT


def test_a_worker_that_is_told_to_end_does_so_after_its_requests_and_is_replaced(start_crew: StartCrew) -> None:
    crew = start_crew()
    with start_upload(crew) as upload:
        before = workers_of(crew)
        for pid in before:
            os.kill(pid, signal.SIGTERM)
        upload.sendall(b"world")
        assert b'"body": "helloworld"' in read_all(upload, silence_s=10)
    wait_until(lambda: len(set(workers_of(crew)) - set(before)) == COUNT, what="new workers")
    assert b" 200 " in ask(crew)


def test_a_worker_that_does_not_end_is_killed_and_counts_as_a_failure(start_crew: StartCrew, tmp_path: Path) -> None:
    crew = start_crew(stop_limit_s=0.5)
    (tmp_path / "hang").touch()
    crew.signal()
    events_until_returned(crew)
    assert crew.process.wait(20) == 1


def test_a_worker_that_fails_at_its_end_counts_as_a_failure(start_crew: StartCrew, tmp_path: Path) -> None:
    crew = start_crew()
    (tmp_path / "crash").touch()
    crew.signal()
    events_until_returned(crew)
    assert crew.process.wait(20) == 1


def test_workers_are_replaced_one_by_one_and_nobody_notices(start_crew: StartCrew) -> None:
    """SIGUSR2: each old worker ends its requests after a new one has begun to accept."""
    crew = start_crew()
    before = workers_of(crew)
    with start_upload(crew) as upload:
        crew.signal(signal.SIGUSR2)
        crew.wait_for("worker started")
        for _ in range(20):
            assert b" 200 " in ask(crew)
        upload.sendall(b"world")
        assert b'"body": "helloworld"' in read_all(upload, silence_s=10)
        wait_until(lambda: len(workers_of(crew)) == COUNT and not set(before) & set(workers_of(crew)))
    assert b" 200 " in ask(crew)


def test_who_has_just_come_to_a_replaced_worker_is_still_answered(start_crew: StartCrew) -> None:
    """A connection that was accepted, and whose first request is on its way, is not cut."""
    crew = start_crew()
    clients = [crew.connect() for _ in range(2 * COUNT)]
    crew.signal(signal.SIGUSR2)
    crew.wait_for("draining")
    for client in clients:
        with client:
            client.sendall(GET)
            assert b" 200 " in read_all(client, silence_s=10)


def test_new_workers_that_cannot_start_replace_nobody(start_crew: StartCrew, tmp_path: Path) -> None:
    crew = start_crew()
    before = workers_of(crew)
    (tmp_path / "fail").write_text("2", encoding="ascii")
    crew.signal(signal.SIGUSR2)
    crew.wait_for("ended")
    assert b" 200 " in ask(crew)
    assert workers_of(crew) == before


def test_every_worker_reads_certificates_again(start_crew: StartCrew, tmp_path: Path) -> None:
    crew = start_crew(tls=make_pair(tmp_path, "crew"))
    crew.signal(signal.SIGHUP)
    for _ in range(COUNT):
        assert crew.logs.get(timeout=20)["text"] == "the certificate was read again"


def test_what_is_done_apart_leaves_no_thread_here() -> None:
    """Asked of a process that has none itself."""
    script = """if True:
        import threading
        from registry.server.supervisor import apart
        def work():
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            return b"x" * 1_000_000
        assert apart(work) == b"x" * 1_000_000
        assert threading.active_count() == 1
    """
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize(
    ("work", "status"),
    [("lambda: exit(3)", 3), ("lambda: 1 / 0", 1), ("lambda: os.kill(os.getpid(), 9)", 137), ("lambda: exit('x')", 1)],
)
def test_what_fails_apart_has_its_status(work: str, status: int) -> None:
    script = f"""if True:
        import os
        from registry.server.supervisor import ApartFailed, apart
        try:
            apart({work})
        except ApartFailed as failed:
            os._exit(failed.status)
    """
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL, timeout=60, check=False)
    assert ended.returncode == status


def test_a_process_with_threads_is_not_forked() -> None:
    other = threading.Event()
    thread = threading.Thread(target=other.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads"):
            apart(lambda: b"")
    finally:
        other.set()
        thread.join()
