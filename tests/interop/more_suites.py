"""Suites besides the Java clients': the published tools, stores that change hands, clients in other languages."""
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import exchange
import mixed
import mqadmin
import timer_exchange
import transactions_exchange
from servers import BUILD, ROOT

HERE = Path(__file__).resolve().parent
TOOLS_VERSION = "5.5.0"
WHEEL_VERSION = "0.4.4"
LIMIT_SECONDS = 900


def missing_tools(*tools):
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return f"{', '.join(missing)} not installed" if missing else None


def tools_classpath():
    output = BUILD / f"classpath-{TOOLS_VERSION}.txt"
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mvn", "-q", "-B", "-f", str(HERE / "java/pom.xml"), f"-Drocketmq.version={TOOLS_VERSION}", "dependency:build-classpath",
                        f"-Dmdep.outputFile={output}"], check=True)
    return output.read_text().strip()


def compiled(name, classpath):
    """The directory with the classes of java/src/<name>.java."""
    source, classes = HERE / f"java/src/{name}.java", BUILD / f"classes-{name}"
    made = classes / f"{name}.class"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-nowarn", "-encoding", "UTF-8", "-d", str(classes), "-cp", classpath, str(source)], check=True)
    return classes


def mqadmin_suite(servers, only):
    if why := missing_tools("java", "javac", "mvn"):
        return None, why
    classpath = tools_classpath()
    return mqadmin.run(servers, only, classpath, compiled("Admin", classpath))


def exchange_suite(story, program):
    """Stores that change hands: `story`.run with the steps of java/src/<program>.java."""

    def run(servers, only):
        if why := missing_tools("java", "javac", "mvn"):
            return None, why
        brokers = BUILD / "classpath-servers.txt"
        if not brokers.exists():
            resolve_brokers(brokers)
        classpath = tools_classpath()
        return story.run(servers, only, classpath, compiled(program, classpath))

    return run


def resolve_brokers(output):
    subprocess.run(["mvn", "-q", "-B", "-f", str(HERE / "servers/pom.xml"), f"-Drocketmq.version={TOOLS_VERSION}", "dependency:build-classpath",
                    f"-Dmdep.outputFile={output}"], check=True)


def python_suite(servers, only):
    """The published wheel with the old C++ client; it exists for x86-64 alone."""
    if platform.machine() != "x86_64":
        return None, f"the wheel rocketmq {WHEEL_VERSION} has no build for {platform.machine()}"
    environment = BUILD / "python"
    if not (environment / f"rocketmq-{WHEEL_VERSION}").exists():
        if subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)]).returncode != 0:
            return None, "python3-venv not installed"
        subprocess.run([str(environment / "bin/pip"), "-q", "install", f"rocketmq=={WHEEL_VERSION}"], check=True)
        (environment / f"rocketmq-{WHEEL_VERSION}").touch()
    program = [str(environment / "bin/python"), str(HERE / "python/suite.py"), servers.name_server, servers.broker_address, only]
    with open(servers.directory / "python.err", "w") as errors:
        done = subprocess.run(program, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=LIMIT_SECONDS, cwd=servers.directory, env=dict(os.environ, HOME=str(servers.directory)))
    cases = [(parts[1], parts[2], int(parts[3]), parts[4]) for parts in (line.split("\t") for line in done.stdout.splitlines()) if parts[0] == "CASE" and len(parts) >= 5]
    if done.returncode != 0 or not cases:
        cases.append(("the suite itself", "FAIL", 0, (servers.directory / "python.err").read_text()[-400:].replace("\n", " ")))
    return cases, None


def cpp_suite(servers, only):
    """Our own client, by its public headers alone."""
    program = ROOT / "build/release/client_suite"
    if not program.exists():
        return None, f"{program.name} is not built; make build"
    with open(servers.directory / "cpp.err", "w") as errors:
        done = subprocess.run([str(program), servers.name_server, servers.broker_address, servers.cluster, servers.target, only], stdout=subprocess.PIPE, stderr=errors,
                              text=True, timeout=LIMIT_SECONDS, cwd=servers.directory, env=dict(os.environ, HOME=str(servers.directory)))
    cases = [(parts[1], parts[2], int(parts[3]), parts[4]) for parts in (line.split("\t") for line in done.stdout.splitlines()) if parts[0] == "CASE" and len(parts) >= 5]
    if done.returncode != 0 or not cases:
        cases.append(("the suite itself", "FAIL", 0, f"exit code {done.returncode} " + (servers.directory / "cpp.err").read_text()[-400:].replace("\n", " ")))
    return cases, None


def mixed_suite(servers, only):
    """Groups whose members are of two languages."""
    program = ROOT / "build/release/client_peer"
    if why := missing_tools("java", "javac", "mvn") or (None if program.exists() else f"{program.name} is not built; make build"):
        return None, why
    classpath = tools_classpath()
    java = ["java", "-Xmx256m", "-Drocketmq.client.logUseSlf4j=true", f"-Duser.home={servers.directory}", "-cp", f"{compiled('Peer', classpath)}:{classpath}", "Peer"]

    def send(topic, body, count):
        for _ in range(30):  # a broker that has just started takes its time to tell the name server
            done = subprocess.run([str(program), servers.name_server, "send", "mixed-sender", topic], input=f"{body} {count}\n", stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, timeout=60)
            if f"SENT\t{body} {count}" in done.stdout:
                return
            time.sleep(1)
        raise AssertionError(f"could not send to {topic}")

    return mixed.run(servers, only, [str(program)], java, send), None


def java_program(name):
    """A suite that is one Java program, java/src/<name>.java on the published client: `Name nameServer brokerAddress cluster only`, one
    `CASE<tab>name<tab>PASS|FAIL<tab>milliseconds<tab>detail` line a case. RESTART on its output restarts the broker (clean), KILL with -9;
    the program goes on when it reads a line."""

    def run(servers, only):
        if why := missing_tools("java", "javac", "mvn"):
            return None, why
        classpath = tools_classpath()
        command = ["java", "-Xmx512m", "-Drocketmq.client.logUseSlf4j=true", f"-Duser.home={servers.directory}", "-cp", f"{compiled(name, classpath)}:{classpath}", name,
                   servers.name_server, servers.broker_address, servers.cluster, only]
        with open(servers.directory / f"{name}.err", "w") as errors, \
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=servers.directory) as program:
            clock = threading.Timer(LIMIT_SECONDS, program.kill)
            clock.start()
            cases = []
            for line in program.stdout:
                parts = line.rstrip("\n").split("\t")
                if parts[0] in ("RESTART", "KILL"):
                    servers.restart_broker(kill=parts[0] == "KILL")
                    program.stdin.write("go on\n")
                    program.stdin.flush()
                elif parts[0] == "CASE" and len(parts) >= 5:
                    cases.append((parts[1], parts[2], int(parts[3]), parts[4]))
            code = program.wait()
            clock.cancel()
        if code != 0 or not cases:
            cases.append(("the suite itself", "FAIL", 0, (servers.directory / f"{name}.err").read_text()[-400:].replace("\n", " ")))
        return cases, None

    return run


SUITES = {"cpp": cpp_suite, "mixed": mixed_suite, "python": python_suite, "mqadmin": mqadmin_suite, "exchange": exchange_suite(exchange, "Exchange"),
          "timer-exchange": exchange_suite(timer_exchange, "TimerExchange"), "transactions-exchange": exchange_suite(transactions_exchange, "Transactions")}
# A message kind adds its line here.
SUITES["pop"] = java_program("Pop")
SUITES["kinds"] = java_program("Kinds")
SUITES["timer"] = java_program("Timer")
SUITES["transactions"] = java_program("Transactions")
