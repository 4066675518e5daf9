"""Transactions that one broker leaves undecided in a store directory are asked about by the other. Once each where Apogee asks; Apache's broker may ask about, and
deliver, one twice, and leaves two copies of a half behind when it is killed between its question and its next write of offsets."""
import signal
import time

import exchange


def tell(story, first, second, how):
    servers = story.broker(first)
    try:
        story.step(servers, "half", "ExchangeHalves")
        time.sleep(exchange.OFFSETS_PERIOD_SECONDS)
    finally:
        servers.stop(how)
    servers = story.broker(second)
    try:
        story.step(servers, "finish", "ExchangeHalves", "once" if second == "apogee" and how == signal.SIGTERM else "again")
    finally:
        servers.stop()
