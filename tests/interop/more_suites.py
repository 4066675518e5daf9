"""Suites besides the Java clients': the published tools, stores that change hands, clients in other languages."""
import os
import platform
import subprocess
import sys
import threading
import time

import exchange
import kinds_exchange
import mixed
import mqadmin
import programs
import static_topics
import timer_exchange
import transactions_exchange
from programs import HERE
from servers import BUILD, ROOT, Servers

VERSION = "5.5.0"
WHEEL_VERSION = "0.4.4"


def mqadmin_suite(servers, only):
    if why := programs.missing_java():
        return None, why
    return mqadmin.run(servers, only, programs.java("Admin", VERSION, servers.directory))


def exchange_suite(tell, program, *kinds, configuration=""):
    """Stores that change hands: a story whose steps are those of java/src/<program>.java."""

    def run(servers, only):
        if why := programs.missing_java():
            return None, why
        programs.broker_classpath("apache")
        return exchange.run(servers, only, programs.java(program, VERSION, servers.directory), tell, kinds, configuration)

    return run


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
    return programs.cases_of(program, servers.directory, env=dict(os.environ, HOME=str(servers.directory))), None


def cpp_suite(servers, only):
    """Our own client, by its public headers alone."""
    program = ROOT / "build/release/client_suite"
    if not program.exists():
        return None, f"{program.name} is not built; make build"
    return programs.cases_of([str(program), servers.name_server, servers.broker_address, servers.cluster, servers.target, only], servers.directory,
                             env=dict(os.environ, HOME=str(servers.directory))), None


CPP_PEER = ROOT / "build/release/client_peer"


def missing_peers():
    return programs.missing_java() or (None if CPP_PEER.exists() else f"{CPP_PEER.name} is not built; make build")


def mixed_suite(servers, only):
    """Groups whose members are of two languages."""
    if why := missing_peers():
        return None, why
    return mixed.run(servers, only, [str(CPP_PEER)], programs.java("Peer", VERSION, servers.directory), sender(servers)), None


def static_topics_suite(servers, only):
    if servers.target != "apache":
        return None, "static topics are Apache's, from 5.0 on"
    if why := missing_peers():
        return None, why
    java, tools = (programs.java(name, VERSION, servers.directory) for name in ("Peer", "Admin"))
    return static_topics.run(servers, only, [str(CPP_PEER)], java, sender(servers), tools), None


def sender(servers):
    """What sends BODY0, BODY1, .. to a topic by our client."""
    def send(topic, body, count):
        for _ in range(30):  # a broker that has just started takes its time to tell the name server
            done = subprocess.run([str(CPP_PEER), servers.name_server, "send", "mixed-sender", topic], input=f"{body} {count}\n", stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, timeout=60)
            if f"SENT\t{body} {count}" in done.stdout:
                return
            time.sleep(1)
        raise AssertionError(f"could not send to {topic}")

    return send


def java_program(name, version=VERSION, extra=""):
    """A suite that is one Java program, java/src/<name>.java on the published client: `Name nameServer brokerAddress cluster only`. RESTART on its output restarts
    the broker (clean), KILL with -9; the program goes on when it reads a line. With `extra` configuration its servers are its own."""

    def run(servers, only):
        if why := programs.missing_java():
            return None, why
        if not extra:
            return play(servers, only), None
        own = Servers(servers.target, servers.apogee, extra=extra)
        try:
            return play(own.start(), only), None
        finally:
            own.remove()

    def play(servers, only):
        command = [*programs.java(name, version, servers.directory), servers.name_server, servers.broker_address, servers.cluster, only, servers.target]
        errors = servers.directory / f"{name}.err"
        with open(errors, "w") as err, \
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True, cwd=servers.directory) as program:
            clock = threading.Timer(programs.LIMIT_SECONDS, program.kill)
            clock.start()
            cases = []
            for line in program.stdout:
                if line.rstrip("\n") in ("RESTART", "KILL"):
                    servers.restart_broker(kill=line.startswith("KILL"))
                    program.stdin.write("go on\n")
                    program.stdin.flush()
                elif case := programs.case_of(line):
                    cases.append(case)
            code = program.wait()
            clock.cancel()
        return programs.ended(cases, code, errors.read_text(errors="replace"))

    return run


LMQ = "enableLmq=true\nenableMultiDispatch=true\n"
COMPACTION = "compactionCqMappedFileSize=4600\ncompactionMappedFileSize=23000\ncompactionScheduleInternal=1500\n"
SUITES = {"cpp": cpp_suite, "mixed": mixed_suite, "static": static_topics_suite, "python": python_suite, "mqadmin": mqadmin_suite, "exchange": exchange_suite(exchange.tell, "Exchange", "a directory"),
          "timer-exchange": exchange_suite(timer_exchange.tell, "TimerExchange", "timer messages"),
          "transactions-exchange": exchange_suite(transactions_exchange.tell, "Transactions", "transactions"),
          "kinds-exchange": exchange_suite(kinds_exchange.tell, "KindsExchange", *kinds_exchange.KINDS, configuration=kinds_exchange.CONFIGURATION),
          "extension-exchange": exchange_suite(kinds_exchange.tell, "KindsExchange", *kinds_exchange.KINDS, configuration=kinds_exchange.CONFIGURATION + kinds_exchange.EXTENSION),
          "compaction": java_program("Compaction", extra=COMPACTION),
          "compaction-exchange": exchange_suite(kinds_exchange.tell, "CompactionExchange", "compacted topics", configuration=COMPACTION),
          "pop": java_program("Pop"), "batches": java_program("Batches"), "timer": java_program("Timer"), "transactions": java_program("Transactions"),
          "transactions49": java_program("Transactions", "4.9.7"), "kinds": java_program("Kinds", extra=LMQ), "kinds49": java_program("Kinds", "4.9.7", LMQ)}
