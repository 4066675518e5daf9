"""suite.py nameServer brokerAddress only: the published wheel `rocketmq` 0.4.4, which carries the old C++ client.

One `CASE<tab>name<tab>PASS|FAIL<tab>milliseconds<tab>detail` line a case.
"""
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from rocketmq.exceptions import ProducerSendSyncFailed
from rocketmq.client import Message, Producer, PullConsumer, PushConsumer, SendStatus
from rocketmq.ffi import MessageModel

NAME_SERVER, BROKER, ONLY = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""
STAMP = str(time.time_ns() // 1_000_000)
CONSUME_SECONDS = 60  # its rebalance comes every 10 s


def topic(name):
    return f"py-{name}-{STAMP}"


def message(to, body, tags=None, keys=None, **properties):
    made = Message(to)
    made.set_body(body)
    if tags:
        made.set_tags(tags)
    if keys:
        made.set_keys(keys)
    for key, value in properties.items():
        made.set_property(key, value)
    return made


class Sending:
    """A started producer for the length of a with block."""

    def __enter__(self):
        self.producer = Producer(f"py-producer-{time.time_ns()}")
        self.producer.set_namesrv_addr(NAME_SERVER)
        self.producer.start()
        for _ in range(30):  # a broker just started is not registered at once
            try:
                self.producer.send_sync(message(f"py-warm-{STAMP}", "are you there"))
                break
            except ProducerSendSyncFailed:
                time.sleep(0.5)
        return self.producer

    def __exit__(self, *_):
        self.producer.shutdown()


def consume(to, expected, expression="*", group=None, orderly=False, model=MessageModel.CLUSTERING, handle=None):
    """The bodies a push consumer gets until `expected` of them are there."""
    bodies, lock, enough = [], threading.Lock(), threading.Event()

    def on_message(received):
        if handle:
            handle(received)  # raises: consume later
        with lock:
            bodies.append((received.body.decode(), received.tags, received.keys, received.queue_id, received.reconsume_times))
            if len(bodies) >= expected:
                enough.set()

    consumer = PushConsumer(group or f"py-group-{time.time_ns()}", orderly, model)
    consumer.set_namesrv_addr(NAME_SERVER)
    consumer.set_instance_name(f"py-{time.time_ns()}")
    consumer.subscribe(to, on_message, expression)
    consumer.start()
    enough.wait(CONSUME_SECONDS)
    time.sleep(0.3)  # more than expected would show
    consumer.shutdown()
    return bodies


def sync_and_push():
    to = topic("sync")
    with Sending() as producer:
        for n in range(20):
            sent = producer.send_sync(message(to, f"body {n}", "A", f"key-{n}"))
            assert sent.status == SendStatus.OK and sent.msg_id, sent
    got = consume(to, 20)
    assert sorted(body for body, *_ in got) == sorted(f"body {n}" for n in range(20)), got
    assert all(tags == b"A" for _, tags, *_ in got), got
    assert all(keys.decode().strip() == "key-" + body.split()[1] for body, _, keys, *_ in got), got


def asynchronous():
    to, good, bad, done = topic("async"), [], [], threading.Event()

    def sent(result):
        good.append(result)
        if len(good) + len(bad) == 10:
            done.set()

    with Sending() as producer:
        for n in range(10):
            producer.send_async(message(to, f"async {n}"), sent, bad.append)
        assert done.wait(20), f"{len(good)} answers, {len(bad)} errors"
    assert not bad and all(result.status == SendStatus.OK for result in good)
    assert len(consume(to, 10)) == 10


def oneway():
    to = topic("oneway")
    with Sending() as producer:
        producer.send_sync(message(to, "first"))
        for n in range(10):
            producer.send_oneway(message(to, f"oneway {n}"))
        got = consume(to, 11)
    assert len(got) == 11, got


def batch():
    """This client marks its batches in a way that no broker splits: one message is stored, by Apache's broker too."""
    to = topic("batch")
    with Sending() as producer:
        producer.send_sync(message(to, "made"))  # the batch call of this client needs a known topic
        sent = producer.send_batch([message(to, f"batch {n}", "B") for n in range(8)])
        assert sent.status == SendStatus.OK
    got = consume(to, 2)
    assert len(got) == 2, got


def tags():
    to = topic("tags")
    with Sending() as producer:
        for n in range(30):
            producer.send_sync(message(to, f"{n}", "abc"[n % 3]))
    got = consume(to, 20, "a || b")
    assert len(got) == 20 and {tag for _, tag, *_ in got} == {b"a", b"b"}, got


def ordered():
    to = topic("ordered")
    with Sending() as producer:
        for n in range(40):
            producer.send_orderly(message(to, f"{n % 4}:{n // 4}"), n % 4)
    got = consume(to, 40, orderly=True)
    for customer in "0123":
        assert [int(body[2:]) for body, *_ in got if body[0] == customer] == list(range(10)), got


def broadcast():
    """Broadcast begins at the end of each queue: messages are sent until both consumers have seen five."""
    to, group, results, done = topic("broadcast"), f"py-broadcast-{STAMP}", [], threading.Event()
    with Sending() as producer:
        producer.send_sync(message(to, "made"))

        def go_on_sending():
            for n in range(120):
                producer.send_sync(message(to, f"{n}"))
                if done.wait(0.5):
                    return

        sender = threading.Thread(target=go_on_sending)
        sender.start()
        consumers = [threading.Thread(target=lambda: results.append(consume(to, 5, group=group, model=MessageModel.BROADCASTING))) for _ in range(2)]
        for each in consumers:
            each.start()
        for each in consumers:
            each.join()
        done.set()
        sender.join()
    both = set(body for body, *_ in results[0]) & set(body for body, *_ in results[1])
    assert len(both) >= 4, results


def retried():
    to, seen = topic("retry"), []
    with Sending() as producer:
        producer.send_sync(message(to, "again"))

    def fail_twice(received):
        seen.append(received.reconsume_times)
        if len(seen) < 3:
            raise ValueError("consume later, please")

    got = consume(to, 1, handle=fail_twice)
    assert len(got) == 1 and seen == [0, 1, 2], (seen, got)


def delayed():
    to = topic("delayed")
    with Sending() as producer:
        producer.send_sync(message(to, "now"))
        began = time.monotonic()
        later = message(to, "later")
        later.set_delay_time_level(3)
        producer.send_sync(later)
        got = consume(to, 2)
    assert {body for body, *_ in got} == {"now", "later"}, got
    assert time.monotonic() - began > 1.5


def properties():
    to = topic("properties")
    found = []
    with Sending() as producer:
        producer.send_sync(message(to, "with properties", colour="grün", n="7"))
    got = consume(to, 1, handle=lambda received: found.append((received.get_property("colour"), received["n"])))
    assert got and found[0] == ("grün".encode(), b"7"), found


def pulled():
    to = topic("pull")
    with Sending() as producer:
        for n in range(12):
            producer.send_sync(message(to, f"{n}"))
    consumer = PullConsumer(f"py-pull-{STAMP}")
    consumer.set_namesrv_addr(NAME_SERVER)
    consumer.start()
    bodies = sorted(int(received.body) for received in consumer.pull(to))
    consumer.shutdown()
    assert bodies == list(range(12)), bodies


CASES = {
    "sync send, push": sync_and_push, "async send": asynchronous, "oneway": oneway, "batch": batch, "tags": tags, "ordered": ordered,
    "broadcast to two": broadcast, "retried until it succeeds": retried, "delayed by level": delayed, "properties": properties, "pull": pulled,
}


def run(name):
    began = time.monotonic()
    try:
        CASES[name]()
        result, detail = "PASS", "-"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's result
        result, detail = "FAIL", f"{type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")[:300] or "-"
    print(f"CASE\t{name}\t{result}\t{int((time.monotonic() - began) * 1000)}\t{detail}", flush=True)
    os._exit(0)  # this client's destructors abort now and then


def run_alone(name):
    """A process a case: the library keeps one client a process and aborts when two threads start and stop it at once."""
    done = subprocess.run([sys.executable, __file__, NAME_SERVER, BROKER, name, "alone"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=180)
    lines = [line for line in done.stdout.splitlines() if line.startswith("CASE")]
    print(lines[0] if lines else f"CASE\t{name}\tFAIL\t0\tended with {done.returncode}: {done.stderr[-200:]!r}", flush=True)


if sys.argv[-1] == "alone":
    run(ONLY)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(run_alone, [name for name in CASES if ONLY in name]))
