"""python3 -m unittest discover bindings/python/tests, with APOGEE_LIBRARY (libapogee.so) and APOGEE_PROGRAM (the apogee binary) set,
or with an optimised build in build/release."""
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
os.environ.setdefault("APOGEE_LIBRARY", str(ROOT / "build/release/libapogee.so"))
PROGRAM = os.environ.get("APOGEE_PROGRAM", str(ROOT / "build/release/apogee"))
sys.path.insert(0, str(ROOT / "bindings/python"))
import apogee  # noqa: E402


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Servers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="apogee-python-")
        cls.names, cls.processes = free_port(), []
        directory = Path(cls.directory.name)
        (directory / "namesrv.conf").write_text(f"listenPort={cls.names}\nbindAddress=127.0.0.1\nkvConfigPath={directory}/kv.json\n")
        (directory / "broker.conf").write_text(f"brokerName=broker-a\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort={free_port()}\nnamesrvAddr=127.0.0.1:{cls.names}\n"
                                               f"storePathRootDir={directory}/store\nmappedFileSizeCommitLog=16777216\ndiskMaxUsedSpaceRatio=95\n")
        for role in ("namesrv", "broker"):
            cls.processes.append(subprocess.Popen([PROGRAM, role, "-c", str(directory / f"{role}.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory))
        cls.client = apogee.Client(name_servers=f"127.0.0.1:{cls.names}")
        cls.producer = cls.client.producer("checkout")
        for _ in range(200):
            try:
                cls.producer.send(apogee.Message("orders", b"first"), timeout=1.0)
                break
            except apogee.Error:
                time.sleep(0.1)

    @classmethod
    def tearDownClass(cls):
        cls.producer.close()
        cls.client.close()
        for process in reversed(cls.processes):
            process.terminate()
            process.wait(30)
        cls.directory.cleanup()

    def started(self, program):
        """A Python program of its own, with `names` and `apogee`."""
        text = f"import apogee, gc, os, sys, threading, time\nnames = '127.0.0.1:{self.names}'\n" + textwrap.dedent(program)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings/python"), "PYTHONFAULTHANDLER": "1"}
        process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.addCleanup(process.kill)
        return process

    def ended(self, program):
        """The exit code, and what was written where errors go."""
        process = self.started(program) if isinstance(program, str) else program
        _, errors = process.communicate("\n", timeout=90)
        return process.returncode, errors


class WithABroker(Servers):
    def test_sends_and_is_told_where_the_message_lies(self):
        receipt = self.producer.send(apogee.Message("orders", b"\x00\xff", tag="paid", keys=["o-17"], properties={"region": "eu"}))
        self.assertEqual(receipt.status, apogee.SEND_OK)
        self.assertEqual(len(receipt.message_id), 32)
        self.assertEqual(receipt.broker, "broker-a")

    def test_chooses_the_queue_by_key_and_by_number(self):
        queues = {self.producer.send(apogee.Message("orders", "x"), key="customer-42").queue_id for _ in range(5)}
        self.assertEqual(len(queues), 1)
        self.assertEqual(self.producer.send_to(apogee.Message("orders", "x"), "broker-a", 3).queue_id, 3)
        self.assertEqual(self.producer.queue_count("orders"), 4)

    def test_sends_a_batch_and_oneway(self):
        receipt = self.producer.send_batch(apogee.Message("orders", str(at)) for at in range(10))
        self.assertEqual(receipt.message_id.count(","), 9)
        self.producer.send_oneway(apogee.Message("orders", "forget"))

    def test_calls_back_once_a_message(self):
        answered, results, mutex = threading.Event(), [], threading.Lock()

        def done(receipt, error):
            with mutex:
                results.append((receipt, error))
                if len(results) == 200:
                    answered.set()

        for at in range(200):
            self.producer.send_async(apogee.Message("orders", str(at)), done, timeout=10)
        self.assertTrue(answered.wait(20))
        self.assertTrue(all(error is None and receipt.message_id for receipt, error in results))

    def test_consumes_what_it_sent_and_what_failed_comes_again(self):
        got, came, tried = [], threading.Event(), []

        def consume(messages):
            for message in messages:
                if message.body == b"hard" and not tried:
                    tried.append(message.message_id)
                    raise RuntimeError("not yet")
                got.append(message)
            if len(got) >= 3:
                came.set()

        with self.client.push_consumer("billing", {"orders": "wanted"}, consume, **{"from": "first"}):
            sent = [self.producer.send(apogee.Message("orders", body, tag="wanted", keys=["a", "b"], properties={"region": "eu"})) for body in (b"one", b"two", b"hard")]
            self.assertTrue(came.wait(60), got)
        self.assertEqual({message.body for message in got}, {b"one", b"two", b"hard"})
        one = next(message for message in got if message.body == b"one")
        self.assertEqual((one.message_id, one.tag, one.keys, one.property("region"), one.property("none")), (sent[0].message_id, "wanted", ["a", "b"], "eu", None))
        self.assertEqual(next(message for message in got if message.body == b"hard").reconsume_times, 1)

    def escaped(self):
        """What leaves a callback: the library is answered with chance then."""
        all_of_it = []
        self.addCleanup(setattr, sys, "unraisablehook", sys.unraisablehook)
        sys.unraisablehook = lambda raised: all_of_it.append(raised.exc_type)
        return all_of_it

    def test_what_was_cancelled_comes_again(self):
        deliveries, again, escaped = [], threading.Event(), self.escaped()

        def consume(messages):
            deliveries.append(messages[0].message_id)
            if len(deliveries) == 1:
                raise asyncio.CancelledError
            again.set()

        with self.client.push_consumer("cancelled", {"orders": "cancelled"}, consume, **{"from": "first"}):
            sent = self.producer.send(apogee.Message("orders", b"once more", tag="cancelled"))
            self.assertTrue(again.wait(60), deliveries)
        self.assertEqual((deliveries, escaped), ([sent.message_id] * 2, []))

    def test_a_local_part_that_exits_decides_nothing(self):
        escaped = self.escaped()

        def local(_):
            raise SystemExit

        with self.client.transactional_producer("ledger", lambda _: apogee.UNKNOWN) as producer:
            _, outcome = producer.send_in_transaction(apogee.Message("orders", b"half"), local)
        self.assertEqual((outcome, escaped), (apogee.UNKNOWN, []))

    def polled(self, consumer, count):
        got = []
        for _ in range(30):
            got += consumer.poll(timeout=1.0)
            if len(got) >= count:
                break
        return got

    def test_polls_what_it_subscribes_to_and_goes_on_where_it_has_committed(self):
        settings = {"from": "first", "auto_commit": False}
        for body in (b"one", b"two", b"other"):
            self.producer.send(apogee.Message("orders", body, tag="polled" if body != b"other" else "not"))
        with self.client.lite_pull_consumer("reports", **settings) as consumer:
            consumer.subscribe("orders", "polled")
            got = self.polled(consumer, 2)
            self.assertEqual({message.body for message in got}, {b"one", b"two"})
            self.assertGreaterEqual(consumer.queue_count, 1)
            consumer.commit()
            last = got[-1]
            self.assertEqual(consumer.committed(apogee.Queue(last.topic, last.broker, last.queue_id)), last.queue_offset + 1)
        self.producer.send(apogee.Message("orders", b"three", tag="polled"))
        with self.client.lite_pull_consumer("reports", **settings) as consumer:
            consumer.subscribe("orders", "polled")
            self.assertEqual([message.body for message in self.polled(consumer, 1)], [b"three"])

    def test_reads_a_queue_again_from_anywhere(self):
        sent = [self.producer.send_to(apogee.Message("orders", f"again {at}"), "broker-a", 2) for at in range(3)]
        queue = apogee.Queue("orders", "broker-a", 2)
        with self.client.lite_pull_consumer("replay") as consumer:
            consumer.assign([queue])
            consumer.seek_to_begin(queue)
            everything = self.polled(consumer, sent[-1].queue_offset + 1)
            self.assertEqual((everything[0].queue_offset, everything[-1].body), (0, b"again 2"))
            consumer.seek(queue, sent[1].queue_offset)
            self.assertEqual(self.polled(consumer, 1)[0].body, b"again 1")
            consumer.seek_to_end(queue)
            self.assertEqual(consumer.poll(timeout=0.2), [])
            with self.assertRaisesRegex(apogee.Error, "not in assigned list"):
                consumer.seek(apogee.Queue("orders", "broker-a", 77), 0)
            with self.assertRaisesRegex(apogee.Error, "mutually exclusive"):
                consumer.subscribe("orders")
            with self.assertRaises(ValueError):
                consumer.seek(queue, -2)

    def test_makes_and_deletes_topics(self):
        self.client.create_topic("invoices", queues=6)
        self.client.delete_topic("invoices", "DefaultCluster")

    def test_a_question_gets_its_answer(self):
        def answer(messages):
            for message in messages:
                self.producer.reply(message, b"re: " + message.body)

        with self.client.push_consumer("answering", {"orders": "ask"}, answer, **{"from": "first"}), apogee.Client(name_servers=f"127.0.0.1:{self.names}") as other:
            asking = other.producer("asking")
            self.assertEqual(asking.request(apogee.Message("orders", b"how much?", tag="ask"), timeout=30).body, b"re: how much?")
            asking.close()

    def test_names_what_is_wrong(self):
        with self.assertRaisesRegex(apogee.Error, "body length is zero") as raised:
            self.producer.send(apogee.Message("orders", b""))
        self.assertEqual(raised.exception.code, "invalid argument")
        with self.assertRaisesRegex(apogee.Error, "has been created before"):
            self.client.producer("checkout")
        with self.assertRaisesRegex(apogee.Error, "send_timeout"):
            self.client.producer("other", send_timeot=1)
        with self.assertRaises(apogee.Error) as raised:
            self.producer.send_to(apogee.Message("orders", "x"), "broker-a", 77)
        self.assertEqual((raised.exception.code, raised.exception.response_code), ("refused", 29))

    def test_ends_in_any_order(self):
        client = apogee.Client(name_servers=f"127.0.0.1:{self.names}")
        producer = client.producer("short", compression="zstd", compress_over_bytes=100)
        producer.send(apogee.Message("orders", b"x" * 10_000))
        client.close()
        with self.assertRaises(apogee.Error):
            producer.send(apogee.Message("orders", b"x"))
        producer.close()
        with self.assertRaises(ValueError):
            producer.send(apogee.Message("orders", b"x"))

    # Everything there is, open and busy.
    EVERYTHING = """
        came = threading.Event()
        client = apogee.Client(name_servers=names, log=lambda severity, line: None)
        producer = client.producer(f"left-{os.getpid()}")
        ledger = client.transactional_producer(f"ledger-{os.getpid()}", lambda _: apogee.UNKNOWN)
        consumer = client.push_consumer(f"left-{os.getpid()}", {"orders": "left"}, lambda _: came.set(), **{"from": "first"})
        puller = client.lite_pull_consumer(f"left-pulling-{os.getpid()}")
        puller.subscribe("orders")
        for at in range(64):
            producer.send(apogee.Message("orders", b"left", tag="left"))
        assert came.wait(30)
        for at in range(64):
            producer.send_async(apogee.Message("orders", b"left", tag="left"), lambda receipt, error: None)
        """

    def test_a_program_that_closes_nothing_ends_well(self):
        self.assertEqual(self.ended(self.EVERYTHING), (0, ""))

    def test_a_program_that_fails_with_everything_open_ends_with_its_failure(self):
        code, errors = self.ended(self.EVERYTHING + "raise RuntimeError('out of paper')")
        self.assertEqual((code, errors.splitlines()[-1]), (1, "RuntimeError: out of paper"))

    # `consume` runs while the program ends.
    CONSUMING = """
        client, runs = apogee.Client(name_servers=names), threading.Event()
        producer = client.producer(f"busy-{os.getpid()}")
        consumer = client.push_consumer(f"busy-{os.getpid()}", {"orders": f"busy-{os.getpid()}"}, consume, **{"from": "first", "shutdown_wait": shutdown_wait})
        producer.send(apogee.Message("orders", b"busy", tag=f"busy-{os.getpid()}"))
        assert runs.wait(30)
        """

    def test_the_end_waits_for_a_callback(self):
        self.assertEqual(self.ended("""
        shutdown_wait = 30_000
        def consume(messages):
            runs.set()
            for _ in range(20):
                time.sleep(0.1)
            print("consumed", file=sys.stderr)
        """ + self.CONSUMING), (0, "consumed\n"))

    def test_a_callback_that_never_ends_is_not_waited_for_longer_than_shutdown_wait(self):
        code, errors = self.ended("""
        shutdown_wait = 100
        def consume(messages):
            runs.set()
            while True:
                time.sleep(0.01)
        """ + self.CONSUMING)
        self.assertEqual((code, errors.splitlines()[-1]), (0, "SystemExit"))

    def test_nor_is_one_that_waits_itself(self):
        self.assertEqual(self.ended("""
        shutdown_wait = 100
        def consume(messages):
            runs.set()
            threading.Event().wait()
        """ + self.CONSUMING), (0, ""))

    def test_a_callback_that_closed_its_consumer_may_finish(self):
        self.assertEqual(self.ended("""
        shutdown_wait = 30_000
        def consume(messages):
            consumer.close()
            runs.set()
            time.sleep(0.3)
        """ + self.CONSUMING), (0, ""))

    def test_threads_that_use_it_while_the_program_ends_are_no_harm(self):
        self.assertEqual(self.ended("""
        client = apogee.Client(name_servers=names)
        producer, puller = client.producer(f"daemon-{os.getpid()}"), client.lite_pull_consumer(f"daemon-{os.getpid()}")
        puller.subscribe("orders")
        def for_ever(use):
            while True:
                try:
                    use()
                except (apogee.Error, ValueError):
                    pass
        for use in (lambda: producer.send(apogee.Message("orders", b"daemon")), lambda: puller.poll(timeout=30)):
            threading.Thread(target=for_ever, args=[use], daemon=True).start()
        time.sleep(1)
        """), (0, ""))

    def test_a_forked_child_ends_for_itself(self):
        self.assertEqual(self.ended("""
        client = apogee.Client(name_servers=names)
        producer = client.producer(f"forked-{os.getpid()}")
        child = os.fork()
        if child == 0:
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        producer.send(apogee.Message("orders", b"forked"))
        """), (0, ""))

    def test_a_closed_client_keeps_its_log_function_until_what_it_made_is_closed(self):
        self.assertEqual(self.ended("""
        client = apogee.Client(name_servers=names, log=lambda severity, line: None)
        producers = [client.producer(f"orphan-{at}-{os.getpid()}") for at in range(8)]
        client.close()
        del client
        gc.collect()
        for producer in producers:
            assert producer._client is not None
            try:
                producer.send(apogee.Message("orders", b"orphan"))
            except apogee.Error:
                pass
            producer.close()
        assert not apogee._Function._all
        """), (0, ""))

    def test_who_is_reached_from_his_own_callback_is_collected(self):
        self.assertEqual(self.ended("""
        class Application:
            def __init__(self):
                self.client = apogee.Client(name_servers=names, log=self.log)
                self.consumer = self.client.push_consumer(f"cycle-{os.getpid()}", {"orders": "*"}, self.consume)
            def log(self, severity, line):
                pass
            def consume(self, messages):
                pass
        Application()
        gc.collect()
        assert not apogee._Function._all
        """), (0, ""))


class WithoutABroker(Servers):
    def test_ends_well_though_the_servers_are_gone(self):
        process = self.started(WithABroker.EVERYTHING + """
        print("ready", flush=True)
        sys.stdin.readline()
        """)
        self.assertEqual(process.stdout.readline(), "ready\n")
        for server in reversed(self.processes):
            server.terminate()
            server.wait(30)
        self.assertEqual(self.ended(process), (0, ""))


if __name__ == "__main__":
    unittest.main()
