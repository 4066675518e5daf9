"""Groups with a member of ours and one of Java's: they share queues, keep order, answer each other's questions and each other's check-backs."""
import os
import subprocess
import threading
import time

SECONDS = 60


class Peer:
    """A program that says READY, then tells what it gets, a line each."""

    def __init__(self, command, servers, mode, group, topic):
        self.lines, self.changed = [], threading.Condition()
        self.errors = open(servers.directory / "mixed.err", "a")
        self.process = subprocess.Popen([*command, servers.name_server, mode, group, topic], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        cwd=servers.directory, env=dict(os.environ, HOME=str(servers.directory)))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n").split("\t"))
                self.changed.notify_all()

    def of(self, kind):
        with self.changed:
            return [line[1:] for line in self.lines if line[0] == kind]

    def wait(self, good, what):
        end = time.monotonic() + SECONDS
        with self.changed:
            while not good(self.lines):
                if not self.changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    raise AssertionError(f"{what}: {self.lines[-3:]}")

    def ready(self):
        self.wait(lambda lines: ["READY"] in lines, "did not start")
        return self

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.errors.close()


def eventually(good, what):
    end = time.monotonic() + SECONDS
    while not good():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


class Mixed:
    def __init__(self, servers, cpp, java, send):
        self.servers, self.commands, self.send = servers, {"cpp": cpp, "java": java}, send
        self.peers = []

    def peer(self, language, mode, group, topic):
        made = Peer(self.commands[language], self.servers, mode, group, topic)
        self.peers.append(made)
        return made

    def pair(self, mode, name):
        both = [self.peer(language, mode, f"group-{name}", f"topic-{name}") for language in ("cpp", "java")]
        return [each.ready() for each in both]

    def end(self):
        for each in self.peers:
            each.end()
        self.peers = []

    def divided(self, mode, name, count):
        """Both have queues: warm-up messages reach both. Then each of `count` messages comes once."""
        self.send(f"topic-{name}", "makes", 8)
        pair = self.pair(mode, name)
        for round_number in range(40):
            self.send(f"topic-{name}", f"warm{round_number}-", 8)
            time.sleep(1)
            if all(any(body.startswith(f"warm{round_number}-") for _, body in each.of("GOT")) for each in pair):
                break
        else:
            raise AssertionError("one member gets nothing")
        self.send(f"topic-{name}", "x", count)
        bodies = lambda each: [body for _, body in each.of("GOT") if body.startswith("x")]
        eventually(lambda: sum(len(bodies(each)) for each in pair) >= count, lambda: f"{[len(bodies(each)) for each in pair]} of {count} came")
        time.sleep(1)
        got = [bodies(each) for each in pair]
        assert sorted(got[0] + got[1]) == sorted(f"x{at}" for at in range(count)), "not each message once"
        assert all(got), "one member got all"
        queues = [{queue for queue, body in each.of("GOT") if body.startswith("x")} for each in pair]
        assert not queues[0] & queues[1], f"shared queues: {queues}"
        return pair

    def share_queues(self):
        self.divided("consume", "shared", 400)

    def got(self, peer, letter):
        """Queue and body of each message that begins so, as they came."""
        return [(int(queue), body) for queue, body in peer.of("GOT") if body.startswith(letter)]

    def in_order(self, peer, letter):
        last = {}
        for queue, body in self.got(peer, letter):
            assert int(body[1:]) > last.get(queue, -1), f"queue {queue}: {body} after {last[queue]}"
            last[queue] = int(body[1:])

    def keep_order(self):
        for each in self.divided("orderly", "ordered", 200):
            self.in_order(each, "x")

    def one_leaves(self):
        cpp, java = self.divided("consume", "leaves", 80)
        java.end()
        self.peers.remove(java)
        before = len(cpp.of("GOT"))
        time.sleep(1)
        self.send("topic-leaves", "y", 80)
        eventually(lambda: len({body for _, body in cpp.of("GOT") if body.startswith("y")}) == 80, lambda: f"{len(cpp.of('GOT')) - before} of 80 came to the one left")

    def asks(self, asking, answering, name):
        self.send(f"topic-{name}", "makes", 8)
        self.peer(answering, "answer", f"group-{name}", f"topic-{name}").ready()
        asker = self.peer(asking, "ask", f"asker-{name}", f"topic-{name}").ready()
        time.sleep(1)
        for question in ("one", "two"):
            asker.tell(question)
            wanted = ["ANSWER", f"re {question} from {answering}"]
            asker.wait(lambda lines: wanted in lines or any(line[0] == "ERROR" for line in lines), "no answer")
            assert wanted in asker.lines, asker.lines[-1]

    def cpp_asks_java(self):
        self.asks("cpp", "java", "cpp-asks")

    def java_asks_cpp(self):
        self.asks("java", "cpp", "java-asks")

    def check_backs(self, left, name):
        """The one that sent has gone when the broker asks; the other one answers."""
        gone = "java" if left == "cpp" else "cpp"
        self.send(f"topic-{name}", "makes", 8)
        pair = {language: self.peer(language, "transact", f"group-{name}", f"topic-{name}").ready() for language in ("cpp", "java")}
        inbox = self.peer("cpp", "consume", f"inbox-{name}", f"topic-{name}").ready()
        for language, each in pair.items():  # a producer becomes known to a broker when it has sent something to it
            each.tell(f"first of {language}")
            each.wait(lambda lines: any(line[0] == "SENT" for line in lines), "not sent")
        time.sleep(2)
        pair[gone].tell("half")
        pair[gone].wait(lambda lines: ["SENT", "half"] in lines, "not sent")
        pair[gone].end()
        self.peers.remove(pair[gone])
        pair[left].wait(lambda lines: ["CHECKED", "half"] in lines, f"{left} was not asked")
        eventually(lambda: any(body == "half" for _, body in inbox.of("GOT")), lambda: "the committed message did not come")

    def cpp_answers_for_java(self):
        self.check_backs("cpp", "cpp-answers")

    def java_answers_for_cpp(self):
        self.check_backs("java", "java-answers")


CASES = {"two members of a group share the queues, each message once": Mixed.share_queues, "two members keep the order of each queue": Mixed.keep_order,
         "one leaves, the other takes its queues": Mixed.one_leaves, "a question of ours is answered by Java": Mixed.cpp_asks_java,
         "a question of Java's is answered by us": Mixed.java_asks_cpp, "we answer a check-back for Java": Mixed.cpp_answers_for_java,
         "Java answers a check-back for us": Mixed.java_answers_for_cpp}


def run(servers, only, cpp, java, send):
    return run_cases(CASES, only, lambda: Mixed(servers, cpp, java, send))


def run_cases(cases, only, make):
    results = []
    for name, case in cases.items():
        if only not in name:
            continue
        began, mixed = time.monotonic(), make()
        try:
            case(mixed)
            results.append((name, "PASS", int((time.monotonic() - began) * 1000), ""))
        except Exception as failed:  # whatever it is, the other cases go on
            results.append((name, "FAIL", int((time.monotonic() - began) * 1000), str(failed)[:300]))
        finally:
            mixed.end()
    return results
