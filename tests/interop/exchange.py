"""Store directories that change hands: one broker writes, the other opens the same directory, serves it and goes on writing, the first opens it
again. After a clean stop and after kill -9; beginning with either."""
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from servers import Servers

OFFSETS_PERIOD_SECONDS = 11  # consumer offsets go to disk every 5 s, the first time after 10


class Story:
    def __init__(self, apogee, java, configuration):
        self.apogee, self.java, self.configuration = apogee, java, configuration
        self.directory = Path(tempfile.mkdtemp(prefix="interop-exchange-"))
        self.ports = None

    def broker(self, target):
        servers = Servers(target, self.apogee, self.directory, self.configuration)
        if self.ports:
            servers.namesrv_port, servers.broker_port = self.ports
            servers.name_server, servers.broker_address = f"127.0.0.1:{self.ports[0]}", f"127.0.0.1:{self.ports[1]}"
        self.ports = servers.namesrv_port, servers.broker_port
        return servers.start()

    def step(self, servers, *words):
        # A broker that has just started may not have told its name server of its topics yet: then nothing was written.
        for attempt in range(5):
            done = subprocess.run([*self.java, servers.name_server, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120,
                                  cwd=self.directory)
            answer = done.stdout.strip()
            last = (answer.splitlines() or ["no answer"])[-1]
            if last == "OK":
                return
            if "No route info" not in answer and "send message Exception" not in answer:
                break
            time.sleep(3)
        raise AssertionError(answer[-300:] or last)

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def tell(story, first, second, how):
    """Three chapters; every one checks all that was written before."""
    servers = story.broker(first)
    try:
        story.step(servers, "write", "one-", "300")
        story.step(servers, "commit", "ExchangeGroup", "7")
        time.sleep(OFFSETS_PERIOD_SECONDS if how == signal.SIGKILL else 0)
    finally:
        servers.stop(how)
    servers = story.broker(second)
    try:
        story.step(servers, "check", "ExchangeGroup", "7", "one-:300")
        story.step(servers, "write", "two-", "200")
        story.step(servers, "commit", "ExchangeGroup", "11")
        time.sleep(OFFSETS_PERIOD_SECONDS if how == signal.SIGKILL else 0)
    finally:
        servers.stop(how)
    servers = story.broker(first)
    try:
        story.step(servers, "check", "ExchangeGroup", "11", "one-:300,two-:200")
        story.step(servers, "write", "three-", "50")
        story.step(servers, "check", "ExchangeGroup", "11", "one-:300,two-:200,three-:50")
    finally:
        servers.stop()


def run(servers, only, java, tell, kinds, configuration):
    """Tells the story of `kinds` four times; `tell` raises what is wrong with all, or gives it by kind. A case a kind and telling."""
    if servers.target != "apogee":
        return None, "both brokers take part; it runs with the target apogee"
    cases = []
    for how, words in ((signal.SIGTERM, "a clean stop"), (signal.SIGKILL, "kill -9")):
        for first, second in (("apache", "apogee"), ("apogee", "apache")):
            names = {kind: f"{first}, {second}, {first} share {kind} with {words} between them" for kind in kinds}
            if not any(only in name for name in names.values()):
                continue
            began = time.monotonic()
            story = Story(servers.apogee, java, configuration)
            try:
                wrong = tell(story, first, second, how) or {}
            except Exception as error:  # a failing step, a server that does not start
                wrong = dict.fromkeys(kinds, str(error))
            if not wrong:
                story.close()
            milliseconds = int((time.monotonic() - began) * 1000)
            for kind, name in {**names, **{kind: kind for kind in wrong if kind not in names}}.items():
                detail = f"{wrong[kind]} (directory kept: {story.directory})".replace("\n", " ") if kind in wrong else ""
                if only in name or kind not in names:
                    cases.append((name, "FAIL" if detail else "PASS", milliseconds, detail))
    return cases, None
