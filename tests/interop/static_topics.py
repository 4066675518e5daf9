"""Static topics, whose queues stay what they are when another broker takes them over: of two of Apache's brokers, set up by the published mqadmin. Only those have them."""
import time

import mixed
import mqadmin
from servers import Servers

QUEUES = 4


class StaticTopics(mixed.Mixed):
    """Two brokers of one name server; the first is the run's own."""

    def __init__(self, servers, cpp, java, send, tools):
        super().__init__(servers, cpp, java, send)
        self.tools = tools

    def make(self, name, brokers):
        """A topic of QUEUES queues, divided among the brokers."""
        topic = f"topic-{name}"
        said = ""
        for _ in range(30):  # a broker that has just started takes its time to tell the name server
            said = self.tools.run("updateStaticTopic", "-t", topic, "-qn", str(QUEUES), "-b", brokers)
            if "Exception" not in said and "new mapping data" in said:
                break
            time.sleep(1)
        else:
            raise AssertionError(f"the topic was not made: {said[-300:]}")
        mixed.eventually(lambda: "__syslo__global__" in self.tools.run("topicStatus", "-t", topic), lambda: "its queues are not there")
        return topic

    def share_queues(self):
        self.make("static-shared", "broker-a,broker-b")
        pair = self.divided("consume", "static-shared", 200)
        queues = {queue for each in pair for queue, _ in self.got(each, "x")}
        assert queues == set(range(QUEUES)), f"messages came from queues {queues}"

    def keep_order(self):
        self.make("static-ordered", "broker-a,broker-b")
        for each in self.divided("orderly", "static-ordered", 200):
            self.in_order(each, "x")

    def move(self):
        """To the other broker, with messages in both, under a member that goes on and for one that comes later."""
        topic = self.make("static-moved", "broker-a")
        stays = self.peer("cpp", "orderly", "group-static-stays", topic).ready()
        self.send(topic, "x", 40)
        self.all_there(stays, "x", 40)
        said = self.tools.run("remappingStaticTopic", "-t", topic, "-b", "broker-b")
        assert "Exception" not in said, f"it was not moved: {said[-300:]}"
        status = self.tools.run("topicRoute", "-t", topic)
        assert "broker-b" in status, f"it was not moved: {status[-300:]}"
        self.send(topic, "y", 40)
        self.all_there(stays, "y", 40)
        comes = self.peer("cpp", "orderly", "group-static-comes", topic).ready()
        for letter in ("x", "y"):
            self.all_there(comes, letter, 40)

    def all_there(self, peer, letter, count):
        mixed.eventually(lambda: len(self.got(peer, letter)) >= count, lambda: f"{len(self.got(peer, letter))} of {count} came")
        assert sorted(body for _, body in self.got(peer, letter)) == sorted(f"{letter}{at}" for at in range(count)), "not each message once"
        assert {queue for queue, _ in self.got(peer, letter)} == set(range(QUEUES)), "not from each queue"
        self.in_order(peer, letter)

    def retry(self):
        topic = self.make("static-retried", "broker-a,broker-b")
        peer = self.peer("cpp", "fail-once", "group-static-retried", topic).ready()
        self.send(topic, "x", 8)
        mixed.eventually(lambda: len(peer.of("AGAIN")) >= 8, lambda: f"{len(peer.of('AGAIN'))} of 8 came again")
        assert sorted(body for _, body in peer.of("AGAIN")) == sorted(f"x{at}" for at in range(8)), "not each message once more"


CASES = {"ours and Java's member share the queues of two brokers": StaticTopics.share_queues, "they keep the order of each queue": StaticTopics.keep_order,
         "queues that move to another broker take their messages along": StaticTopics.move, "what failed comes again": StaticTopics.retry}


def run(servers, only, cpp, java, send, tools):
    second = Servers(servers.target, servers.apogee, extra=f"brokerName=broker-b\nnamesrvAddr={servers.name_server}\n")
    admin = mqadmin.Tools(tools, servers)
    try:
        second.configure()
        second.spawn("broker", second.broker_port)
        return mixed.run_cases(CASES, only, lambda: StaticTopics(servers, cpp, java, send, admin))
    finally:
        admin.close()
        second.remove()
