"""Timer messages that wait in a store directory that changes hands: what one broker took, the other delivers, on time, and without what was recalled."""
import signal
import time

import exchange


def tell(story, first, second, how):
    """Each chapter leaves messages to the next, and beyond it."""
    once = "once" if how == signal.SIGTERM else "again"
    servers = story.broker(first)
    try:
        story.step(servers, "write", "one-", "100", "12")
        story.step(servers, "write", "far-", "50", "45")
        time.sleep(2)
    finally:
        servers.stop(how)
    servers = story.broker(second)
    try:
        story.step(servers, "await", once, "one-:100")
        story.step(servers, "write", "two-", "100", "15")
        time.sleep(2)
    finally:
        servers.stop(how)
    servers = story.broker(first)
    try:
        story.step(servers, "write", "three-", "20", "5")
        story.step(servers, "await", once, "one-:100,two-:100,far-:50,three-:20")
    finally:
        servers.stop()
