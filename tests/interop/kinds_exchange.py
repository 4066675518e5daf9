"""Kinds of messages, and what groups leave behind, in a store directory that changes hands: java/src/KindsExchange.java tells what is promised of each."""
import signal
import time

import exchange
import programs

KINDS = ["delayed messages", "messages sent back", "LMQs", "batch queues", "popped messages", "messages popped in order", "offsets", "expressions"]
CONFIGURATION = "enableLmq=true\nenableMultiDispatch=true\nmessageDelayLevel=1s 20s 40s\n"
EXTENSION = "enableConsumeQueueExt=true\nmappedFileSizeConsumeQueueExt=1024\nenableCalcFilterBitMap=true\n"


def tell(story, first, second, how):
    """Gives what went wrong first with each kind."""
    wrong = {}
    for chapter, target in enumerate((first, second, first), 1):
        servers = story.broker(target)
        try:
            command = [*story.java, servers.name_server, servers.broker_address, servers.cluster, str(chapter), "clean" if how == signal.SIGTERM else "kill"]
            for kind, result, _, detail in programs.cases_of(command, story.directory):
                if result != "PASS":
                    wrong.setdefault(kind, f"chapter {chapter}, {target}: {detail}")
            time.sleep(exchange.OFFSETS_PERIOD_SECONDS if how == signal.SIGKILL else 0)
        finally:
            servers.stop(how if chapter < 3 else signal.SIGTERM)
    return wrong
