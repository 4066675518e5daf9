"""Starts and stops the servers under test, ours and Apache's, with the same configuration files."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/interop"


def free_ports():
    """A name server port and a broker port whose neighbours (fast port - 2, replication + 1) are free too."""
    while True:
        ports = []
        for _ in range(2):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                ports.append(probe.getsockname()[1])
        try:
            for port in (ports[0], ports[1] - 2, ports[1], ports[1] + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return ports


def wait_for_port(port, process, seconds, log):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise RuntimeError(f"port {port} did not open; the log ends with\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]))


VERSIONS = {"apache": "5.5.0", "apache49": "4.9.7"}
START_SECONDS_MAX = 180  # Apache's take three, and a minute on a machine with ten times more work than cores
CLASSPATHS = {"apache": "classpath-servers.txt", "apache49": "classpath-servers-4.9.7.txt"}


class Servers:
    """A name server and a broker of one kind on a store directory. target: 'apogee', 'apache' (5.5.0) or 'apache49' (4.9.7)."""

    def __init__(self, target, apogee, directory=None, extra=""):
        self.target, self.apogee = target, apogee
        self.directory = Path(directory or tempfile.mkdtemp(prefix=f"interop-{target}-"))
        self.own_directory = directory is None
        self.namesrv_port, self.broker_port = free_ports()
        self.name_server, self.broker_address = f"127.0.0.1:{self.namesrv_port}", f"127.0.0.1:{self.broker_port}"
        self.cluster = "InteropCluster"
        self.extra = extra
        self.processes = []

    def configure(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "namesrv.conf").write_text(f"listenPort={self.namesrv_port}\nkvConfigPath={self.directory}/namesrv/kvConfig.json\nbindAddress=127.0.0.1\n")
        (self.directory / "broker.conf").write_text(
            f"brokerClusterName={self.cluster}\nbrokerName=broker-a\nbrokerId=0\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\nlistenPort={self.broker_port}\nbindAddress=127.0.0.1\n"
            f"namesrvAddr={self.name_server}\nstorePathRootDir={self.directory}/store\nstorePathCommitLog={self.directory}/store/commitlog\n"
            f"mappedFileSizeCommitLog=67108864\nmaxHashSlotNum=50000\nmaxIndexNum=200000\nautoCreateTopicEnable=true\nenablePropertyFilter=true\n"
            f"messageDelayLevel=1s 1s 2s 2s 3s 3s 4s 4s 5s 5s 6s 6s 7s 7s 8s 8s 9s 9s\ntransactionCheckInterval=2000\ntransactionTimeOut=2000\n"
            f"diskMaxUsedSpaceRatio=95\n{self.extra}")

    def configure_logs(self):
        """Apache's 4.9 does not start without these."""
        (self.directory / "conf").mkdir(exist_ok=True)
        for role in ("namesrv", "broker"):
            (self.directory / f"conf/logback_{role}.xml").write_text("<configuration/>\n")

    def start(self):
        self.configure()
        if self.target == "apache49":
            self.configure_logs()
        self.spawn("namesrv", self.namesrv_port)
        self.spawn("broker", self.broker_port)
        return self

    def spawn(self, role, port):
        log = self.directory / f"{role}.log"
        conf = str(self.directory / f"{role}.conf")
        if self.target == "apogee":
            command = [str(self.apogee), role, "-c", conf]
        else:
            main = {"namesrv": "org.apache.rocketmq.namesrv.NamesrvStartup", "broker": "org.apache.rocketmq.broker.BrokerStartup"}[role]
            classpath = (BUILD / CLASSPATHS[self.target]).read_text().strip()
            # 4.9 unmaps its files by reflection, which later Java has to be told to allow; without it the broker does not end cleanly.
            packages = ("java.nio", "sun.nio.ch", "jdk.internal.ref") if self.target == "apache49" else ()
            opens = [f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in packages]
            command = ["java", *opens, "-Xms256m", "-Xmx1g", "-XX:MaxDirectMemorySize=512m", f"-Duser.home={self.directory}", "-cp", classpath, main, "-c", conf]
        environment = dict(os.environ, ROCKETMQ_HOME=str(self.directory), HOME=str(self.directory))
        environment.pop("NAMESRV_ADDR", None)
        process = subprocess.Popen(command, stdout=open(log, "ab"), stderr=subprocess.STDOUT, env=environment, cwd=self.directory, start_new_session=True)
        self.processes.append((role, process))
        wait_for_port(port, process, START_SECONDS_MAX, log)

    def stop(self, how=signal.SIGTERM):
        for role, process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(how if role == "broker" else signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []

    def restart_broker(self, kill=False):
        """Stops the broker, cleanly or with -9, and starts it on the same store and port. How many seconds each took."""
        at = next(at for at, (role, _) in enumerate(self.processes) if role == "broker")
        _, process = self.processes.pop(at)
        began = time.monotonic()
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        process.wait(60)
        stopped = time.monotonic()
        self.spawn("broker", self.broker_port)
        return stopped - began, time.monotonic() - stopped

    def memory_kib(self):
        broker = dict(self.processes)["broker"]
        for line in Path(f"/proc/{broker.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0

    def remove(self):
        self.stop()
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
