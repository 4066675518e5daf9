"""The published mqadmin against a broker. What it prints, with everything that changes from run to run masked, is compared with what it printed
against Apache's broker (expected/mqadmin/*.txt). Where Apogee differs and should, DIFFERENCES says why, and its own output is kept in
expected/mqadmin/apogee. INTEROP_RECORD=1 writes these files: with --target apache all, with --target apogee those of DIFFERENCES.

    python3 tests/interop/mqadmin.py     writes docs/mqadmin.md; the suite's last case checks that it is up to date"""
import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected/mqadmin"
PAGE = HERE.parents[1] / "docs/mqadmin.md"
LIMIT_SECONDS = 60


TOPICS = '[{"topicName": "AdminListed", "readQueueNums": 2, "writeQueueNums": 2, "perm": 6}, {"topicName": "AdminListedToo", "readQueueNums": 1, "writeQueueNums": 1, "perm": 4}]'
GROUPS = '[{"groupName": "AdminListed", "retryMaxTimes": 4}, {"groupName": "AdminListedToo", "consumeEnable": false}]'
POLICY = '{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000,10000]}}'


ROCKSDB = "Neither queues nor configuration are kept in RocksDB; the request is refused by name."
ACCESS = "Both refuse while access control is off; Apogee gives the cause, where Apache writes it to its log."
DIFFERENCES = {
    "checkRocksdbCqWriteProgress": ROCKSDB,
    "exportConfigs": "Without msgTraceTopicName and useTLS, which the broker's configuration does not have.",
    "exportMetrics": "Without cpuNum, which the tool reads from a setting of Netty's threads.",
    "getBrokerConfig": "Only keys that mean something here are listed, and the keys of this broker alone.",
    "getNamesrvConfig": "Only keys that mean something here are listed, and the keys of this name server alone.",
    "updateBrokerConfig path": "Both refuse; Apogee names the key.",
    "updateNamesrvConfig path": "Both refuse; Apogee names the key.",
    **{f"{what}{kind}": ACCESS for kind in ("User", "Acl") for what in ("create", "update", "delete", "get", "list", "copy")},
}
LEFT_OUT = {
    "addBroker, removeBroker": "a container of brokers",
    "updateStaticTopic, remappingStaticTopic": "static topics",
    "getSyncStateSet, getControllerMetaData, getControllerConfig, updateControllerConfig, electMaster, cleanBrokerMetadata": "a controller",
}


class Tools:
    """One JVM with the tools; commands go in, outputs come out."""

    def __init__(self, java, servers):
        self.servers = servers
        self.process = subprocess.Popen(java, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=servers.directory,
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
    text = re.sub(r"\b[0-9A-F]{32}(?:[0-9A-F]{24})?(?=\b|SendResult)", "ID", text)
    text = re.sub(r"\d{4}-\d{2}-\d{2}[ #T]\d{2}:\d{2}:\d{2}(?:[,.:]\d{3})?", "TIME", text)
    text = re.sub(r"\b1[789]\d{11}\b", "MS", text)
    text = re.sub(r"\b(?:\d{1,3}\.){3}\d{1,3}:\d+", "HOST", text)
    text = re.sub(r"(CommitLog Offset:\s+)\d+", r"\1N", text)
    text = re.sub(r"(listenPort\s*=\s*)\d+", r"\1PORT", text)
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


def progress(lines):
    """Rows of queues: which queue has messages, and whose, is the balance's choice; times are N/A until somebody consumed."""
    rows = sorted({re.sub(r" (N/A|N-N-N N:N:N|TIME)$", " WHEN", row) for row in without_numbers(line for line in lines if " broker-a " in line)})
    return [re.sub(r"(TPS: |Total: ).*", r"\1N", line) for line in lines if " broker-a " not in line] + rows


def client_ids(lines):
    return [re.sub(r"\S*@(looked-at|traced)\S*", r"CLIENT@\1", line) for line in lines]


def trace(lines):
    """The columns that say what happened; addresses and costs are the client's."""
    return without_numbers(client_ids(lines))


def running_info(lines):
    """Names of properties and headings; their values are the client's own."""
    return sorted({line.split(" :")[0].split(":")[0].split("=")[0].strip() for line in client_ids(without_numbers(lines))})


def exported(directory, name, lines):
    """What was printed, and the shape of what was written: every path of keys, lists as their first."""
    file = directory / "export" / name
    found = []

    def walk(value, path):
        if isinstance(value, dict):
            for key, each in value.items():
                walk(each, f"{path}.{key}")
        else:
            found.append(path)

    if file.exists():
        walk(json.loads(file.read_text()), name)
    return without_numbers(lines) + sorted(found)


def script_of(tools, seen):
    """(name, words, how to read the output) in the order in which they make sense; later ones need earlier ones' output, in `seen`."""
    broker, cluster = tools.servers.broker_address, tools.servers.cluster
    plain = list

    def found(name, pattern):
        match = re.search(pattern, seen.get(name, ""))
        return match[1] if match else "none"

    codes = lambda lines: [line for line in lines if "CODE" in line]  # noqa: E731
    tps = progress
    files = tools.servers.directory

    def written(name, text):
        (files / name).write_text(text)
        return str(files / name)

    return [
        ("updateTopic", lambda: ["-b", broker, "-t", "AdminTopic", "-r", "4", "-w", "4"], plain),
        ("updateTopic order", lambda: ["-b", broker, "-t", "AdminTopic", "-r", "8", "-w", "8"], plain),
        ("updateTopic attributes", lambda: ["-c", cluster, "-t", "AdminTyped", "-r", "1", "-w", "1", "-a", "+message.type=NORMAL"], plain),
        ("updateTopic bad attribute", lambda: ["-b", broker, "-t", "AdminTyped", "-a", "+no.such=1"], codes),
        ("updateTopicList", lambda: ["-b", broker, "-f", written("topics.json", TOPICS)], plain),
        ("topicList", lambda: [], only_ours),
        ("topicList cluster", lambda: ["-c"], only_ours),
        ("topicRoute", lambda: ["-t", "AdminTopic"], route),
        ("topicRoute list", lambda: ["-t", "AdminTopic", "-l"], plain),
        ("topicRoute unknown", lambda: ["-t", "NoSuchTopic"], codes),
        ("topicClusterList", lambda: ["-t", "AdminTopic"], plain),
        ("updateTopicPerm", lambda: ["-b", broker, "-t", "AdminTopic", "-p", "4"], plain),
        ("updateTopicPerm back", lambda: ["-c", cluster, "-t", "AdminTopic", "-p", "6"], plain),
        ("allocateMQ", lambda: ["-t", "AdminTopic", "-i", "10.0.0.1,10.0.0.2,10.0.0.3"], plain),
        ("updateOrderConf put", lambda: ["-t", "AdminTopic", "-m", "put", "-v", "broker-a:2"], plain),
        ("updateOrderConf get", lambda: ["-t", "AdminTopic", "-m", "get"], plain),
        ("topicRoute ordered", lambda: ["-t", "AdminTopic"], route),
        ("updateOrderConf delete", lambda: ["-t", "AdminTopic", "-m", "delete"], plain),
        ("updateOrderConf gone", lambda: ["-t", "AdminTopic", "-m", "get"], plain),
        ("updateKvConfig", lambda: ["-s", "AdminSpace", "-k", "key", "-v", "value"], plain),
        ("deleteKvConfig", lambda: ["-s", "AdminSpace", "-k", "key"], plain),
        ("deleteKvConfig unknown", lambda: ["-s", "AdminSpace", "-k", "key"], plain),
        ("sendMessage", lambda: ["-t", "AdminTopic", "-p", "hello", "-k", "adminkey", "-c", "TagA", "-b", "broker-a", "-i", "0"], plain),
        ("sendMessage unknown", lambda: ["-t", "NoSuch%Topic", "-p", "hello"], codes),
        ("topicStatus", lambda: ["-t", "AdminTopic"], tps),
        ("topicStatus unknown", lambda: ["-t", "NoSuchTopic"], codes),
        ("consumeMessage", lambda: ["-t", "AdminTopic", "-g", "AdminGroup", "-b", "broker-a", "-i", "0", "-o", "0", "-c", "1"], lambda lines: property_order(without_numbers(lines))),
        ("printMsg", lambda: ["-t", "AdminTopic", "-d", "true"], lambda lines: sorted(property_order(without_numbers(lines)))),
        ("printMsgByQueue", lambda: ["-t", "AdminTopic", "-a", "broker-a", "-i", "0", "-p", "true", "-d", "true", "-f", "true"], lambda lines: property_order(without_numbers(lines))),
        ("queryMsgByOffset", lambda: ["-t", "AdminTopic", "-b", "broker-a", "-i", "0", "-o", "0"], message),
        ("queryMsgByOffset beyond", lambda: ["-t", "AdminTopic", "-b", "broker-a", "-i", "0", "-o", "99"], plain),
        ("queryMsgById", lambda: ["-t", "AdminTopic", "-i", found("queryMsgByOffset", r"OffsetID:\s+(\w+)")], message),
        ("queryMsgById unknown", lambda: ["-t", "AdminTopic", "-i", found("queryMsgByOffset", r"OffsetID:\s+(\w{16})") + "00000000000000FF"], codes),
        ("queryMsgById again", lambda: ["-t", "AdminTopic", "-s", "true", "-i", found("queryMsgByOffset", r"OffsetID:\s+(\w+)")], lambda lines: property_order(without_numbers(lines))),
        ("queryMsgByKey", lambda: ["-t", "AdminTopic", "-k", "adminkey"], without_numbers),
        ("queryMsgByKey unknown", lambda: ["-t", "AdminTopic", "-k", "nosuchkey"], plain),
        ("queryMsgByUniqueKey", lambda: ["-t", "AdminTopic", "-i", found("queryMsgByOffset", r"UNIQ_KEY=(\w+)")], message),
        ("queryMsgByUniqueKey all", lambda: ["-t", "AdminTopic", "-a", "-i", found("queryMsgByOffset", r"UNIQ_KEY=(\w+)")], message),
        ("@traced", lambda: ["AdminTracer", "AdminTopic"], without_numbers),
        ("queryMsgTraceById", lambda: ["-i", found("@traced", r"id (\w+)")], trace),
        ("queryCq", lambda: ["-t", "AdminTopic", "-q", "0", "-i", "0", "-c", "1", "-b", broker], without_numbers),  # the traced message may be the queue's second
        ("sendMsgStatus", lambda: ["-b", "broker-a", "-c", "3"], lambda lines: without_numbers(lines)),
        ("checkMsgSendRT", lambda: ["-t", "AdminTopic", "-a", "3", "-s", "16"], without_numbers),
        ("@limited clusterRT", lambda: ["4", "clusterRT", "-a", "3", "-i", "60", "-c", cluster], without_numbers),
        ("updateSubGroup", lambda: ["-b", broker, "-g", "AdminGroup", "-q", "2", "-r", "3"], lambda lines: sorted(lines)),
        ("updateSubGroup policy", lambda: ["-c", cluster, "-g", "AdminPolicy", "-p", POLICY, "-o", "true"], lambda lines: sorted(lines)),
        ("updateSubGroupList", lambda: ["-b", broker, "-f", written("groups.json", GROUPS)], plain),
        ("getConsumerConfig", lambda: ["-g", "AdminGroup"], plain),
        ("getConsumerConfig policy", lambda: ["-g", "AdminPolicy"], plain),
        ("getConsumerConfig unknown", lambda: ["-g", "NoSuchGroup"], plain),
        ("setConsumeMode", lambda: ["-b", broker, "-t", "AdminTopic", "-g", "AdminGroup", "-m", "POP", "-q", "2"], plain),
        ("setConsumeMode back", lambda: ["-c", cluster, "-t", "AdminTopic", "-g", "AdminGroup", "-m", "PULL"], plain),
        ("resetOffsetByTime", lambda: ["-g", "AdminGroup", "-t", "AdminTopic", "-s", "now"], without_numbers),
        ("resetOffsetByTime queue", lambda: ["-g", "AdminGroup", "-t", "AdminTopic", "-b", broker, "-q", "0", "-o", "1", "-s", "now"], plain),
        ("consumerProgress", lambda: ["-g", "AdminGroup"], tps),
        ("consumerProgress unknown", lambda: ["-g", "NoSuchGroup"], codes),
        ("cloneGroupOffset", lambda: ["-s", "AdminGroup", "-d", "AdminClone", "-t", "AdminTopic", "-o", "true"], plain),
        ("consumerProgress cloned", lambda: ["-g", "AdminClone"], tps),
        ("consumerConnection offline", lambda: ["-g", "NoSuchGroup"], codes),
        ("producerConnection offline", lambda: ["-g", "NoSuchProducer", "-t", "AdminTopic"], codes),
        ("consumerStatus offline", lambda: ["-g", "NoSuchGroup"], codes),
        ("@join", lambda: ["AdminLive", "AdminTopic"], plain),
        ("@produce", lambda: ["AdminProducer", "AdminTopic", "16"], plain),
        ("@consumed", lambda: ["16"], lambda lines: []),
        ("consumerConnection", lambda: ["-g", "AdminLive"], client_ids),
        ("consumerConnection broker", lambda: ["-g", "AdminLive", "-b", broker], client_ids),
        ("producerConnection", lambda: ["-g", "AdminProducer", "-t", "AdminTopic"], client_ids),
        ("producer", lambda: ["-b", broker], lambda lines: sorted(set(without_numbers(client_ids(lines))))),
        ("consumerProgress online", lambda: ["-g", "AdminLive"], tps),
        ("consumerProgress clients", lambda: ["-g", "AdminLive", "-s", "true"], lambda lines: progress(client_ids(lines))),
        ("consumerProgress topic", lambda: ["-g", "AdminLive", "-t", "AdminTopic"], tps),
        ("consumerProgress all", lambda: [], lambda lines: sorted(line for line in without_numbers(lines) if "Admin" in line)),
        ("consumerStatus", lambda: ["-g", "AdminLive"], lambda lines: client_ids(without_numbers(lines))),
        ("consumerStatus client", lambda: ["-g", "AdminLive", "-i", found("consumerConnection", r"(\S+@looked-at\S*)")], running_info),
        ("consumerStatus jstack", lambda: ["-g", "AdminLive", "-s", "-i", found("consumerConnection", r"(\S+@looked-at\S*)")], lambda lines: ["a stack of the consumer's threads"] if any("MQClientFactoryScheduledThread" in line for line in lines) else ["no stack"]),
        ("queryMsgById consumed", lambda: ["-t", "AdminTopic", "-i", found("queryMsgByOffset", r"OffsetID:\s+(\w+)")], lambda lines: [line for line in lines if "trackType" in line or "MessageTrack" in line]),
        ("queryMsgById directly", lambda: ["-t", "AdminTopic", "-g", "AdminLive", "-d", found("consumerConnection", r"(\S+@looked-at\S*)"), "-i", found("queryMsgByOffset", r"OffsetID:\s+(\w+)")], lambda lines: without_numbers(lines)),
        ("queryMsgByUniqueKey directly", lambda: ["-t", "AdminTopic", "-g", "AdminLive", "-d", found("consumerConnection", r"(\S+@looked-at\S*)"), "-i", found("queryMsgByOffset", r"UNIQ_KEY=(\w+)")], lambda lines: without_numbers(lines)),
        ("resetOffsetByTime online", lambda: ["-g", "AdminLive", "-t", "AdminTopic", "-s", "-1"], without_numbers),
        ("skipAccumulatedMessage online", lambda: ["-g", "AdminLive", "-t", "AdminTopic"], without_numbers),
        ("skipAccumulatedMessage", lambda: ["-g", "AdminGroup", "-t", "AdminTopic"], without_numbers),
        ("skipAccumulatedMessage unknown", lambda: ["-g", "NoSuchGroup", "-t", "NoSuchTopic"], codes),
        ("@leave", lambda: [], plain),
        ("clusterList", lambda: [], lambda lines: [re.sub(r"(BROKER \S+) .*", r"\1", line) for line in lines]),
        ("clusterList more", lambda: ["-m"], lambda lines: without_numbers(lines)),
        ("brokerStatus", lambda: ["-b", broker], keys_only),
        ("brokerStatus cluster", lambda: ["-c", cluster], lambda lines: [re.sub(r"^HOST|^BROKER", "BROKER", line) for line in keys_only(lines)]),
        ("brokerConsumeStats", lambda: ["-b", broker], lambda lines: sorted(line for line in without_numbers(lines) if "AdminGroup" in line or "#" in line or "Diff" in line)),
        ("statsAll", lambda: ["-t", "AdminTopic"], without_numbers),
        ("statsAll active", lambda: ["-a"], lambda lines: sorted(line for line in without_numbers(lines) if "AdminTopic" in line or "#" in line)),
        ("haStatus", lambda: ["-b", broker], without_numbers),
        ("haStatus cluster", lambda: ["-c", cluster], without_numbers),
        ("resetMasterFlushOffset", lambda: ["-b", broker, "-o", "0"], plain),
        ("getBrokerEpoch", lambda: ["-c", cluster], codes),
        ("wipeWritePerm", lambda: ["-b", "broker-a"], without_numbers),
        ("topicRoute wiped", lambda: ["-t", "AdminTopic"], route),
        ("addWritePerm", lambda: ["-b", "broker-a"], without_numbers),
        ("wipeWritePerm unknown", lambda: ["-b", "no-such-broker"], without_numbers),
        ("getNamesrvConfig", lambda: [], keys_only),
        ("updateNamesrvConfig", lambda: ["-k", "returnOrderTopicConfigToBroker", "-v", "true"], plain),
        ("updateNamesrvConfig path", lambda: ["-k", "kvConfigPath", "-v", "/tmp/elsewhere"], codes),
        ("getBrokerConfig", lambda: ["-b", broker], keys_only),
        ("updateBrokerConfig", lambda: ["-b", broker, "-k", "brokerPermission", "-v", "6"], plain),
        ("updateBrokerConfig all", lambda: ["-c", cluster, "-a", "true", "-k", "longPollingEnable", "-v", "true"], plain),
        ("updateBrokerConfig path", lambda: ["-b", broker, "-k", "brokerConfigPath", "-v", "/tmp/elsewhere"], codes),
        ("getColdDataFlowCtrInfo", lambda: ["-b", broker], plain),
        ("updateColdDataFlowCtrGroupConfig", lambda: ["-b", broker, "-g", "AdminGroup", "-v", "1024"], plain),
        ("removeColdDataFlowCtrGroupConfig", lambda: ["-b", broker, "-g", "AdminGroup"], plain),
        ("setCommitLogReadAheadMode", lambda: ["-b", broker, "-m", "0"], plain),
        ("exportMetadata", lambda: ["-c", cluster, "-f", str(files / "export")], lambda lines: exported(files, "metadata.json", lines)),
        ("exportMetadata broker topics", lambda: ["-b", broker, "-t", "-f", str(files / "export")], lambda lines: exported(files, "topic.json", lines)),
        ("exportMetadata broker groups", lambda: ["-b", broker, "-g", "-f", str(files / "export")], lambda lines: exported(files, "subscriptionGroup.json", lines)),
        ("exportConfigs", lambda: ["-c", cluster, "-f", str(files / "export")], lambda lines: exported(files, "configs.json", lines)),
        ("exportMetrics", lambda: ["-c", cluster, "-f", str(files / "export")], lambda lines: exported(files, "metrics.json", lines)),
        ("exportPopRecord", lambda: ["-b", broker, "-d", "true"], plain),
        ("checkRocksdbCqWriteProgress", lambda: ["-c", cluster, "-t", "AdminTopic"], plain),
        ("rocksDBConfigToJson", lambda: ["-t", "topics", "-b", broker], plain),
        ("exportMetadataInRocksDB", lambda: ["-p", str(files / "nowhere"), "-t", "topics"], plain),
        ("dumpCompactionLog", lambda: ["-f", str(files / "nowhere")], plain),
        ("createUser", lambda: ["-b", broker, "-u", "ann", "-p", "secret", "-t", "Normal"], codes),
        ("updateUser", lambda: ["-b", broker, "-u", "ann", "-p", "secret2"], codes),
        ("getUser", lambda: ["-b", broker, "-u", "ann"], codes),
        ("listUser", lambda: ["-b", broker], codes),
        ("deleteUser", lambda: ["-b", broker, "-u", "ann"], codes),
        ("copyUser", lambda: ["-f", broker, "-t", broker, "-u", "ann"], codes),
        ("createAcl", lambda: ["-b", broker, "-s", "User:ann", "-r", "Topic:AdminTopic", "-a", "Pub", "-d", "Allow"], codes),
        ("updateAcl", lambda: ["-b", broker, "-s", "User:ann", "-r", "Topic:AdminTopic", "-a", "Sub", "-d", "Allow"], codes),
        ("getAcl", lambda: ["-b", broker, "-s", "User:ann"], codes),
        ("listAcl", lambda: ["-b", broker], codes),
        ("deleteAcl", lambda: ["-b", broker, "-s", "User:ann"], codes),
        ("copyAcl", lambda: ["-f", broker, "-t", broker, "-s", "User:ann"], codes),
        ("cleanExpiredCQ", lambda: ["-b", broker], plain),
        ("cleanExpiredCQ cluster", lambda: ["-c", cluster], plain),
        ("cleanUnusedTopic", lambda: ["-b", broker], plain),
        ("deleteExpiredCommitLog", lambda: ["-b", broker], plain),
        ("deleteSubGroup", lambda: ["-b", broker, "-g", "AdminGroup"], plain),
        ("deleteSubGroup offsets", lambda: ["-c", cluster, "-g", "AdminClone", "-r", "true"], plain),
        ("deleteTopic", lambda: ["-c", cluster, "-t", "AdminTopic"], plain),
        ("topicRoute deleted", lambda: ["-t", "AdminTopic"], codes),
        ("@limited startMonitoring", lambda: ["3", "startMonitoring"], plain),
    ]


def commands(tools):
    seen = {}
    for name, words, read in script_of(tools, seen):
        began = time.monotonic()
        if name in ("queryMsgByKey", "topicStatus"):
            time.sleep(1)  # the index and the statistics follow a moment later
        output = tools.run(name.split()[0], *words())
        if raw := os.environ.get("INTEROP_RAW"):
            (Path(raw) / f"{name.replace(' ', '-')}.{tools.servers.target}").write_text(output)
        seen[name] = output
        yield name, read(mask(output, tools.servers)), output, int((time.monotonic() - began) * 1000)


def difference(wanted, got):
    missing = [line for line in wanted if line not in got]
    extra = [line for line in got if line not in wanted]
    if missing or extra:
        return f"missing {missing[:3]}, instead {extra[:3]}"
    if len(wanted) != len(got):
        return f"some of the {len(wanted)} lines more or less often: {len(got)}"
    return "lines in another order" if wanted != got else ""


def page(names):
    """docs/mqadmin.md."""
    commands_of = sorted({name.removeprefix("@limited ").split()[0] for name in names if not re.match(r"@(?!limited)", name)})
    differing = sorted(DIFFERENCES)
    lines = ["# mqadmin", "",
             "The published `mqadmin` 5.5.0 works against Apogee unchanged. `tests/interop/run --suite mqadmin --target both` runs its commands, in",
             f"{len(names)} variants, against both brokers and compares what they print; what changes from run to run is masked.", "",
             f"Compared ({len(commands_of)} commands): {', '.join(f'`{each}`' for each in commands_of)}.", "",
             "## What differs", "", "| Command | Why |", "|---|---|"]
    for why in dict.fromkeys(DIFFERENCES[name] for name in differing):
        lines.append(f"| {', '.join(f'`{name}`' for name in differing if DIFFERENCES[name] == why)} | {why} |")
    lines += ["", "Everything else prints the same.", "", "## What is not compared", "", "| Commands | They need |", "|---|---|"]
    lines += [f"| {', '.join(f'`{each}`' for each in names.split(', '))} | {why} |" for names, why in LEFT_OUT.items()]
    return "\n".join(lines) + "\n"


class Nothing:
    """Servers for whoever only wants the names of the cases."""
    broker_address = cluster = name_server = target = ""
    directory = Path("/nonexistent")


def names():
    tools = type("Tools", (), {"servers": Nothing})()
    return [name for name, _, _ in script_of(tools, {})]


def run(servers, only, java):
    recording = os.environ.get("INTEROP_RECORD") == "1"
    (EXPECTED / "apogee").mkdir(parents=True, exist_ok=True)
    tools = Tools(java, servers)
    cases = []
    try:
        for name, got, _, milliseconds in commands(tools):
            if only not in name:
                continue
            common = EXPECTED / (name.replace(" ", "-") + ".txt")
            file = EXPECTED / "apogee" / common.name if servers.target == "apogee" and name in DIFFERENCES else common
            if recording and (servers.target == "apache" or file != common):
                file.write_text("\n".join(got) + "\n")
            wanted = [line for line in file.read_text().splitlines() if line] if file.exists() else ["nothing was recorded"]
            wrong = difference(wanted, got)
            if file != common and common.exists() and not difference([line for line in common.read_text().splitlines() if line], got):
                wrong = "prints the same as Apache's broker: no difference any more"
            cases.append((name, "FAIL" if wrong else "PASS", milliseconds, wrong))
        if only in "docs/mqadmin.md":
            same = PAGE.exists() and PAGE.read_text() == page(names())
            cases.append(("docs/mqadmin.md", "PASS" if same else "FAIL", 0, "" if same else "out of date: python3 tests/interop/mqadmin.py"))
    finally:
        tools.close()
    return cases, None


if __name__ == "__main__":
    PAGE.write_text(page(names()))
