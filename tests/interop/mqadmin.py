"""The published mqadmin against a broker. What it prints, with everything that changes from run to run masked, is compared with what it printed
against Apache's broker (expected/mqadmin/*.txt). INTEROP_RECORD=1 with --target apache writes these files."""
import os
import re
import subprocess
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected/mqadmin"
LIMIT_SECONDS = 60


class Tools:
    """One JVM with the tools; commands go in, outputs come out."""

    def __init__(self, classpath, classes, servers):
        self.servers = servers
        self.process = subprocess.Popen(
            ["java", "-Xmx256m", f"-Duser.home={servers.directory}", "-cp", f"{classes}:{classpath}", "Admin"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=servers.directory,
            env=dict(os.environ, ROCKETMQ_HOME=str(servers.directory)))

    def run(self, *words):
        watchdog = threading.Timer(LIMIT_SECONDS, self.process.kill)
        watchdog.start()
        try:
            self.process.stdin.write("\t".join([*words, "-n", self.servers.name_server]) + "\n")
            self.process.stdin.flush()
            lines = []
            for line in self.process.stdout:
                if line == "END\n":
                    return "".join(lines)
                lines.append(line)
            raise RuntimeError("mqadmin did not answer")
        finally:
            watchdog.cancel()

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


def mask(text, servers):
    """Leaves the shape: names, keys, counts. Addresses, ids and times differ from run to run; column widths with them."""
    text = text.replace(servers.broker_address, "BROKER").replace(servers.name_server, "NAMESRV").replace(str(servers.directory), "DIR")
    text = re.sub(r"\b[0-9A-F]{32}(?:[0-9A-F]{24})?\b", "ID", text)
    text = re.sub(r"\d{4}-\d{2}-\d{2}[ #T]\d{2}:\d{2}:\d{2}(?:[,.:]\d{3})?", "TIME", text)
    text = re.sub(r"\b1[789]\d{11}\b", "MS", text)
    text = re.sub(r"\b(?:\d{1,3}\.){3}\d{1,3}:\d+", "HOST", text)
    text = re.sub(r"(CommitLog Offset:\s+)\d+", r"\1N", text)
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    return [line for line in lines if line and "WARN" not in line and "SLF4J" not in line]


def only_ours(lines):
    """Other suites leave topics with numbers in their names behind; order is a hash map's; RocksDB is one way to store transactions."""
    return sorted(line for line in lines if not re.search(r"[TG]_\d+|AUTO_\d+|%(RETRY|DLQ)%|ROCKSDB", line))


def keys_only(lines):
    """key : value, the keys; paths are part of some. scheduleMessageOffset_N come with use."""
    keys = sorted({line.split(" :")[0].split(":")[0].strip() for line in lines})
    return [key for key in keys if not re.match(r"scheduleMessageOffset_\d|commitLogDiskRatio_|remainHowManyDataToCommit", key)]


def without_numbers(lines):
    return [re.sub(r"-?\d+(?:\.\d+)?", "N", line) for line in lines]


def property_order(lines):
    """Properties: {A=1, B=2}: a hash map's order."""
    return [re.sub(r"\{(.*)\}", lambda found: "{" + ", ".join(sorted(found[1].split(", "))) + "}", line) for line in lines]


def message(lines):
    return property_order([re.sub(r"(Message Body Path: ).*", r"\1PATH", line) for line in lines])


def route(lines):
    return [line for line in lines if "enableActingMaster" not in line and "topicQueueMapping" not in line and "filterServerTable" not in line]


def commands(tools):
    """(name, words, how to read the output) in the order in which they make sense; later ones need earlier ones' output."""
    broker, cluster = tools.servers.broker_address, tools.servers.cluster
    plain = list
    seen = {}

    def found(name, pattern):
        match = re.search(pattern, seen.get(name, ""))
        return match[1] if match else "none"

    script = [
        ("updateTopic", lambda: ["-b", broker, "-t", "AdminTopic", "-r", "4", "-w", "4"], plain),
        ("updateTopic order", lambda: ["-b", broker, "-t", "AdminTopic", "-r", "8", "-w", "8"], plain),
        ("topicList", lambda: [], only_ours),
        ("topicRoute", lambda: ["-t", "AdminTopic"], route),
        ("topicRoute unknown", lambda: ["-t", "NoSuchTopic"], lambda lines: [line for line in lines if "CODE" in line]),
        ("topicClusterList", lambda: ["-t", "AdminTopic"], plain),
        ("updateTopicPerm", lambda: ["-b", broker, "-t", "AdminTopic", "-p", "4"], plain),
        ("updateTopicPerm back", lambda: ["-b", broker, "-t", "AdminTopic", "-p", "6"], plain),
        ("sendMessage", lambda: ["-t", "AdminTopic", "-p", "hello", "-k", "adminkey", "-c", "TagA", "-b", "broker-a", "-i", "0"], plain),
        ("topicStatus", lambda: ["-t", "AdminTopic"], lambda lines: [re.sub(r"(TPS: ).*", r"\1N", line) for line in lines]),
        ("consumeMessage", lambda: ["-t", "AdminTopic", "-g", "AdminGroup", "-b", "broker-a", "-i", "0", "-o", "0", "-c", "1"], lambda lines: property_order(without_numbers(lines))),
        ("queryMsgByOffset", lambda: ["-t", "AdminTopic", "-b", "broker-a", "-i", "0", "-o", "0"], message),
        ("queryMsgById", lambda: ["-t", "AdminTopic", "-i", found("queryMsgByOffset", r"OffsetID:\s+(\w+)")], message),
        ("queryMsgById unknown", lambda: ["-t", "AdminTopic", "-i", found("queryMsgByOffset", r"OffsetID:\s+(\w{16})") + "00000000000000FF"], lambda lines: [line for line in lines if "CODE" in line]),
        ("queryMsgByKey", lambda: ["-t", "AdminTopic", "-k", "adminkey"], without_numbers),
        ("queryMsgByUniqueKey", lambda: ["-t", "AdminTopic", "-i", found("queryMsgByOffset", r"UNIQ_KEY=(\w+)")], message),
        ("queryCq", lambda: ["-t", "AdminTopic", "-q", "0", "-i", "0", "-c", "2", "-b", broker], without_numbers),
        ("updateSubGroup", lambda: ["-b", broker, "-g", "AdminGroup", "-q", "2", "-r", "3"], lambda lines: sorted(lines)),
        ("getConsumerConfig", lambda: ["-g", "AdminGroup"], plain),
        ("resetOffsetByTime", lambda: ["-g", "AdminGroup", "-t", "AdminTopic", "-s", "now"], without_numbers),
        ("consumerProgress", lambda: ["-g", "AdminGroup"], lambda lines: [re.sub(r"(TPS: ).*", r"\1N", line) for line in lines]),
        ("consumerProgress unknown", lambda: ["-g", "NoSuchGroup"], lambda lines: [line for line in lines if "CODE" in line]),
        ("consumerConnection offline", lambda: ["-g", "NoSuchGroup"], lambda lines: [line for line in lines if "CODE" in line]),
        ("producerConnection offline", lambda: ["-g", "NoSuchProducer", "-t", "AdminTopic"], lambda lines: [line for line in lines if "CODE" in line]),
        ("clusterList", lambda: [], lambda lines: [re.sub(r"(BROKER \S+) .*", r"\1", line) for line in lines]),
        ("brokerStatus", lambda: ["-b", broker], keys_only),
        ("statsAll", lambda: ["-t", "AdminTopic"], without_numbers),
        ("haStatus", lambda: ["-b", broker], without_numbers),
        ("cleanExpiredCQ", lambda: ["-b", broker], plain),
        ("updateBrokerConfig", lambda: ["-b", broker, "-k", "brokerPermission", "-v", "6"], plain),
        ("deleteSubGroup", lambda: ["-b", broker, "-g", "AdminGroup"], plain),
        ("deleteTopic", lambda: ["-c", cluster, "-t", "AdminTopic"], plain),
        ("topicRoute deleted", lambda: ["-t", "AdminTopic"], lambda lines: [line for line in lines if "CODE" in line]),
    ]
    for name, words, read in script:
        began = time.monotonic()
        if name in ("queryMsgByKey", "topicStatus"):
            time.sleep(1)  # the index and the statistics follow a moment later
        output = tools.run(name.split()[0], *words())
        seen[name] = output
        yield name, read(mask(output, tools.servers)), output, int((time.monotonic() - began) * 1000)


def difference(wanted, got):
    missing = [line for line in wanted if line not in got]
    extra = [line for line in got if line not in wanted]
    if missing or extra:
        return f"missing {missing[:3]}, instead {extra[:3]}"
    return "lines in another order" if wanted != got else ""


def run(servers, only, classpath, classes):
    recording = os.environ.get("INTEROP_RECORD") == "1" and servers.target == "apache"
    EXPECTED.mkdir(parents=True, exist_ok=True)
    tools = Tools(classpath, classes, servers)
    cases = []
    try:
        for name, got, _, milliseconds in commands(tools):
            if only not in name:
                continue
            file = EXPECTED / (name.replace(" ", "-") + ".txt")
            if recording:
                file.write_text("\n".join(got) + "\n")
            wanted = [line for line in file.read_text().splitlines() if line] if file.exists() else ["nothing was recorded"]
            wrong = difference(wanted, got)
            cases.append((name, "FAIL" if wrong else "PASS", milliseconds, wrong))
    finally:
        tools.close()
    return cases, None
