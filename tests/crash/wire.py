"""RocketMQ's remoting protocol, as little of it as the crash checker needs.

Written against the protocol, not against Apogee's library: a mistake in one is not repeated in the other.
"""
import json
import socket
import struct
import zlib

SEND_MESSAGE_V2 = 310
SEND_BATCH_MESSAGE = 320
PULL_MESSAGE = 11
QUERY_CONSUMER_OFFSET = 14
UPDATE_CONSUMER_OFFSET = 15
GET_MAX_OFFSET = 30
UPDATE_AND_CREATE_TOPIC = 17


class Gone(Exception):
    """The connection ended: what was in flight may or may not be stored."""


class Connection:
    """One connection; requests may be pipelined: send() several, then receive() the answers in any order."""

    def __init__(self, address, timeout=10.0):
        host, port = address.rsplit(":", 1)
        try:
            self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        except OSError as error:
            raise Gone(str(error)) from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.opaque = 0

    def close(self):
        self.socket.close()

    @staticmethod
    def frame(code, opaque, fields, body):
        header = json.dumps({"code": code, "extFields": {k: str(v) for k, v in fields.items()}, "flag": 0, "language": "PYTHON",
                             "opaque": opaque, "serializeTypeCurrentRPC": "JSON", "version": 513}).encode()
        return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body

    def send(self, requests):
        """Sends [(code, fields, body)]; returns their opaques."""
        frames, opaques = [], []
        for code, fields, body in requests:
            self.opaque += 1
            opaques.append(self.opaque)
            frames.append(self.frame(code, self.opaque, fields, body))
        try:
            self.socket.sendall(b"".join(frames))
        except OSError as error:
            raise Gone(str(error)) from error
        return opaques

    def receive(self):
        """(header, body) of the next answer."""
        while True:
            if len(self.buffer) >= 4:
                (length,) = struct.unpack_from(">I", self.buffer)
                if len(self.buffer) >= 4 + length:
                    (header_length,) = struct.unpack_from(">I", self.buffer, 4)
                    header_length &= 0xFFFFFF
                    header = json.loads(self.buffer[8 : 8 + header_length])
                    body = self.buffer[8 + header_length : 4 + length]
                    self.buffer = self.buffer[4 + length :]
                    return header, body
            try:
                more = self.socket.recv(1 << 18)
            except OSError as error:
                raise Gone(str(error)) from error
            if not more:
                raise Gone("closed by the broker")
            self.buffer += more

    def call(self, code, fields, body=b""):
        self.send([(code, fields, body)])
        return self.receive()


def properties(key, delay_level=0):
    text = f"KEYS\x01{key}\x02UNIQ_KEY\x01{key:>032}\x02"
    return text + (f"DELAY\x01{delay_level}\x02" if delay_level else "")


def send_request(topic, queue, body, key, delay_level=0):
    fields = {"a": "crash_producer", "b": topic, "c": "TBW102", "d": 4, "e": queue, "f": 0, "g": 0, "h": 0,
              "i": properties(key, delay_level), "j": 0, "k": "false", "m": "false"}
    return SEND_MESSAGE_V2, fields, body


def batch_request(topic, queue, bodies):
    """One request with several messages; [(body, key)]."""
    members = b""
    for body, key in bodies:
        text = properties(key).encode()
        members += struct.pack(">iiiii", 22 + len(body) + len(text), 0, zlib.crc32(body) & 0x7FFFFFFF, 0, len(body)) + body + struct.pack(">h", len(text)) + text
    fields = {"a": "crash_producer", "b": topic, "c": "TBW102", "d": 4, "e": queue, "f": 0, "g": 0, "h": 0, "i": "", "j": 0, "k": "false", "m": "true"}
    return SEND_BATCH_MESSAGE, fields, members


def records(body):
    """Yields (queue_offset, physical_offset, body, crc_good) of each record of a pull's answer."""
    at = 0
    while at < len(body):
        (size, _magic, crc, _queue, _flag, queue_offset, physical_offset, sys_flag) = struct.unpack_from(">iIIiiqqi", body, at)
        hosts = (20 if sys_flag & 0x10 else 8) + (20 if sys_flag & 0x20 else 8)
        body_at = at + 40 + 8 + 8 + hosts + 4 + 8
        (length,) = struct.unpack_from(">i", body, body_at)
        content = body[body_at + 4 : body_at + 4 + length]
        yield queue_offset, physical_offset, content, (zlib.crc32(content) & 0x7FFFFFFF) == crc
        at += size


def pull(connection, topic, queue, offset, count=32):
    fields = {"consumerGroup": "crash_checker", "topic": topic, "queueId": queue, "queueOffset": offset, "maxMsgNums": count, "sysFlag": 4,
              "commitOffset": 0, "suspendTimeoutMillis": 0, "subscription": "*", "subVersion": 0, "expressionType": "TAG"}
    return connection.call(PULL_MESSAGE, fields)
