"""python3 -m unittest discover bindings/python/tests, with APOGEE_LIBRARY (libapogee.so) and APOGEE_PROGRAM (the apogee binary) set,
or with an optimised build in build/release."""
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
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


class WithABroker(unittest.TestCase):
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


if __name__ == "__main__":
    unittest.main()
