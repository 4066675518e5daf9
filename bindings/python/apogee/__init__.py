"""RocketMQ from Python, on top of libapogee.so. Times are seconds, but for those of settings, which
are whole milliseconds. Bodies are bytes."""
import atexit
import contextlib
import ctypes
import itertools
import os
import threading
import time
import traceback
import weakref
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Union

from . import _library

_lib = _library.load()

COMMIT, ROLLBACK, UNKNOWN = 0, 1, 2  # outcomes of a transaction
SEND_OK, FLUSH_DISK_TIMEOUT, FLUSH_REPLICA_TIMEOUT, REPLICA_NOT_AVAILABLE = 0, 1, 2, 3


def version() -> str:
    return _lib.apogee_version().decode()


class Error(Exception):
    """What went wrong. `code` is its name ("timeout", "refused", ...), `response_code` RocketMQ's if a server said it (else 0);
    `perhaps_done`: the request had left, what was asked may have happened."""

    def __init__(self, error: _library.Error):
        super().__init__(error.detail.decode("utf-8", "replace"))
        self.code = _lib.apogee_code_name(error.code).decode()
        self.response_code = error.response_code
        self.perhaps_done = bool(error.perhaps_done)


def _check(code: int, error: _library.Error) -> None:
    if code != 0:
        raise Error(error)


def _text(value) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (list, tuple)):
        return ";".join(str(each) for each in value).encode()
    return str(value).encode()


def _settings(settings: dict):
    pairs = (_library.Setting * len(settings))()
    for at, (name, value) in enumerate(settings.items()):
        pairs[at].name, pairs[at].value = name.encode(), _text(value)
    return pairs, len(settings)


@dataclass
class Message:
    """A message to be sent. One of `level`, `after` (seconds), `at` (Unix time in seconds) delays it."""

    topic: str
    body: Union[bytes, str]
    tag: str = ""
    keys: List[str] = field(default_factory=list)
    properties: Dict[str, str] = field(default_factory=dict)
    level: Optional[int] = None
    after: Optional[float] = None
    at: Optional[float] = None
    flag: int = 0
    wait_store: bool = True

    def _fill(self, out: _library.Message) -> list:
        """Returns what must live as long as `out` is used."""
        body = self.body.encode() if isinstance(self.body, str) else bytes(self.body)
        keys = (ctypes.c_char_p * len(self.keys))(*[key.encode() for key in self.keys])
        properties, count = _settings(self.properties)
        buffer = ctypes.create_string_buffer(body, len(body)) if body else None
        out.struct_size = ctypes.sizeof(_library.Message)
        out.topic, out.tag = self.topic.encode(), self.tag.encode()
        out.body, out.body_length = ctypes.cast(buffer, ctypes.c_void_p) if buffer else None, len(body)
        out.keys, out.key_count, out.properties, out.property_count = keys, len(self.keys), properties, count
        for kind, value, factor in ((1, self.level, 1), (2, self.after, 1000), (3, self.at, 1000)):
            if value is not None:
                out.delivery, out.delivery_value = kind, int(value * factor)
        out.flag, out.no_wait_store = self.flag, 0 if self.wait_store else 1
        return [buffer, keys, properties]


@dataclass(frozen=True)
class Receipt:
    status: int
    message_id: str
    offset_message_id: str
    broker: str
    queue_id: int
    queue_offset: int
    recall_handle: str
    transaction_id: str


def _receipt(handle) -> Receipt:
    return Receipt(_lib.apogee_receipt_status(handle), _lib.apogee_receipt_message_id(handle).decode(), _lib.apogee_receipt_offset_message_id(handle).decode(),
                   _lib.apogee_receipt_broker(handle).decode(), _lib.apogee_receipt_queue_id(handle), _lib.apogee_receipt_queue_offset(handle),
                   _lib.apogee_receipt_recall_handle(handle).decode(), _lib.apogee_receipt_transaction_id(handle).decode())


class Received:
    """A message that was received: a copy, to keep as long as you like."""

    def __init__(self, owned):
        self._handle = owned
        length = ctypes.c_size_t()
        data = _lib.apogee_received_body(owned, ctypes.byref(length))
        self.body = ctypes.string_at(data, length.value) if length.value else b""
        self.topic = _lib.apogee_received_topic(owned).decode()
        self.tag = _lib.apogee_received_tag(owned).decode()
        self.keys = [_lib.apogee_received_key(owned, at).decode() for at in range(_lib.apogee_received_key_count(owned))]
        self.message_id = _lib.apogee_received_message_id(owned).decode()
        self.broker = _lib.apogee_received_broker(owned).decode()
        self.queue_id = _lib.apogee_received_queue_id(owned)
        self.queue_offset = _lib.apogee_received_queue_offset(owned)
        self.reconsume_times = _lib.apogee_received_reconsume_times(owned)
        self.born = _lib.apogee_received_born_ms(owned) / 1000
        self.stored = _lib.apogee_received_stored_ms(owned) / 1000

    def property(self, name: str) -> Optional[str]:
        value = _lib.apogee_received_property(self._handle, name.encode())
        return None if value is None else value.decode()

    def __del__(self):
        _lib.apogee_received_free(self._handle)


class _Waiting:
    """Callbacks on their way, by number: the library carries the number, Python keeps the function."""

    def __init__(self):
        self._mutex, self._numbers, self._functions = threading.Lock(), itertools.count(1), {}

    def add(self, function) -> int:
        with self._mutex:
            number = next(self._numbers)
            self._functions[number] = function
            return number

    def take(self, number: int):
        with self._mutex:
            return self._functions.pop(number)


_waiting = _Waiting()


@_library.SendCallback
def _sent(context, receipt, error):
    done = _waiting.take(context)
    done(_receipt(receipt), None) if receipt else done(None, Error(error.contents))


class _Function:
    """What the library calls as often as it likes: it carries the number. Its object holds it, here it is held weakly: else who is reached from his own
    callback would never be collected.

    The thunks are the module's, and never end: the library may call one a moment after an object was freed, as nothing waits for the callback it is freed
    in, and a client that is freed before its producers still logs. A number that nobody has any more is no harm."""

    _numbers, _all = itertools.count(1), weakref.WeakValueDictionary()

    def __init__(self, call: Callable):
        self.call, self.number = call, next(self._numbers)
        self._all[self.number] = self


@_library.LogFunction
def _logged(context, severity, line, length):
    function = _Function._all.get(context)
    if function:
        function.call(severity, ctypes.string_at(line, length).decode("utf-8", "replace"))


@_library.ConsumeFunction
def _consume(context, messages, count):
    function = _Function._all.get(context)
    if not function:
        return 1
    with _inside():
        return _consumed(function.call, lambda: [Received(_lib.apogee_received_copy(messages[at])) for at in range(count)])


@_library.CheckFunction
def _asked(context, message):
    function = _Function._all.get(context)
    if not function:
        return UNKNOWN
    with _inside():
        return _outcome(function.call, lambda: Received(_lib.apogee_received_copy(message)))


_running = set()  # threads of the library's inside a function that may block


@contextlib.contextmanager
def _inside():
    thread = threading.get_ident()
    _running.add(thread)
    try:
        yield
    finally:
        _running.discard(thread)


class _Object:
    """Something the library made; freed once, by close(), `with`, the collector or the end of the program."""

    _free: Callable
    _opened = weakref.WeakSet()

    def __init__(self, handle, client: "Optional[Client]" = None, function: Optional[_Function] = None):
        self._handle = handle
        self._client = client  # lives as long as what was made from it: that logs with its function
        self._function = function
        self._opened.add(self)

    def close(self) -> None:
        handle, self._handle = getattr(self, "_handle", None), None
        if handle:
            type(self)._free(handle)
            self._client = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        self.close()

    @property
    def _open(self):
        if not self._handle:
            raise ValueError(f"this {type(self).__name__} was closed")
        return self._handle


class Producer(_Object):
    _free = _lib.apogee_producer_free

    def _call(self, function, message: Message, *rest):
        native, error, receipt = _library.Message(), _library.Error(), ctypes.c_void_p()
        keep = message._fill(native)
        _check(function(self._open, ctypes.byref(native), *rest, ctypes.byref(receipt), ctypes.byref(error)), error)
        del keep
        try:
            return _receipt(receipt)
        finally:
            _lib.apogee_receipt_free(receipt)

    def send(self, message: Message, timeout: float = 3.0, key: Optional[str] = None) -> Receipt:
        """Waits until the broker has stored it. The same `key`, the same queue."""
        if key is not None:
            return self._call(_lib.apogee_producer_send_by_key, message, key.encode(), int(timeout * 1000))
        return self._call(_lib.apogee_producer_send, message, int(timeout * 1000))

    def send_to(self, message: Message, broker: str, queue_id: int, timeout: float = 3.0) -> Receipt:
        return self._call(_lib.apogee_producer_send_to, message, broker.encode(), queue_id, int(timeout * 1000))

    def send_batch(self, messages: Iterable[Message], timeout: float = 3.0) -> Receipt:
        """All or none, in one request."""
        batch = list(messages)
        native, error, receipt = (_library.Message * len(batch))(), _library.Error(), ctypes.c_void_p()
        keep = [message._fill(each) for message, each in zip(batch, native)]
        _check(_lib.apogee_producer_send_batch(self._open, native, len(batch), int(timeout * 1000), ctypes.byref(receipt), ctypes.byref(error)), error)
        del keep
        try:
            return _receipt(receipt)
        finally:
            _lib.apogee_receipt_free(receipt)

    def send_oneway(self, message: Message) -> None:
        native, error = _library.Message(), _library.Error()
        keep = message._fill(native)
        _check(_lib.apogee_producer_send_oneway(self._open, ctypes.byref(native), ctypes.byref(error)), error)
        del keep

    def send_async(self, message: Message, done: Callable[[Optional[Receipt], Optional[Error]], None], timeout: float = 3.0) -> None:
        """`done(receipt, error)` runs once, on a thread of the library's; it must not block."""
        native, error = _library.Message(), _library.Error()
        keep = message._fill(native)
        number = _waiting.add(done)
        code = _lib.apogee_producer_send_async(self._open, ctypes.byref(native), int(timeout * 1000), _sent, number, ctypes.byref(error))
        del keep
        if code != 0:
            _waiting.take(number)
            raise Error(error)

    def request(self, question: Message, timeout: float = 3.0) -> Received:
        native, error, answer = _library.Message(), _library.Error(), ctypes.c_void_p()
        keep = question._fill(native)
        _check(_lib.apogee_producer_request(self._open, ctypes.byref(native), int(timeout * 1000), ctypes.byref(answer), ctypes.byref(error)), error)
        del keep
        return Received(answer)

    def reply(self, question: Received, body: bytes, timeout: float = 3.0) -> None:
        error = _library.Error()
        _check(_lib.apogee_producer_reply(self._open, question._handle, body, len(body), int(timeout * 1000), ctypes.byref(error)), error)

    def recall(self, topic: str, recall_handle: str, timeout: float = 3.0) -> None:
        error = _library.Error()
        _check(_lib.apogee_producer_recall(self._open, topic.encode(), recall_handle.encode(), int(timeout * 1000), ctypes.byref(error)), error)

    def queue_count(self, topic: str, timeout: float = 3.0) -> int:
        error, count = _library.Error(), ctypes.c_size_t()
        _check(_lib.apogee_producer_queue_count(self._open, topic.encode(), int(timeout * 1000), ctypes.byref(count), ctypes.byref(error)), error)
        return count.value


class TransactionalProducer(Producer):
    def send_in_transaction(self, message: Message, local: Callable[[Receipt], int], timeout: float = 3.0):
        """Stores the message invisibly, runs `local`, tells the broker its outcome. Gives (receipt, outcome)."""
        outcome = ctypes.c_int32(UNKNOWN)
        call = _library.LocalFunction(lambda _, receipt: _outcome(local, lambda: _receipt(receipt)))
        native, error, receipt = _library.Message(), _library.Error(), ctypes.c_void_p()
        keep = message._fill(native)
        _check(_lib.apogee_producer_send_in_transaction(self._open, ctypes.byref(native), call, None, int(timeout * 1000), ctypes.byref(receipt),
                                                        ctypes.byref(outcome), ctypes.byref(error)), error)
        del keep
        try:
            return _receipt(receipt), outcome.value
        finally:
            _lib.apogee_receipt_free(receipt)


class PushConsumer(_Object):
    """Takes messages until it is closed; close() waits for calls that run."""

    _free = _lib.apogee_push_consumer_free

    def suspend(self) -> None:
        _lib.apogee_push_consumer_suspend(self._open)

    def resume(self) -> None:
        _lib.apogee_push_consumer_resume(self._open)

    @property
    def queue_count(self) -> int:
        return _lib.apogee_push_consumer_queue_count(self._open)


class Queue(NamedTuple):
    topic: str
    broker: str
    queue_id: int

    def _native(self) -> _library.Queue:
        return _library.Queue(self.topic.encode(), self.broker.encode(), self.queue_id)


class LitePullConsumer(_Object):
    """The client pulls ahead, the program polls. Queues come from subscribe(), which divides them among the group, or from assign()."""

    _free = _lib.apogee_lite_pull_consumer_free

    def subscribe(self, topic: str, expression: str = "*") -> None:
        """Expressions as push_consumer()'s."""
        error, subscription = _library.Error(), _library.Subscription()
        _subscribe(subscription, topic, expression)
        _check(_lib.apogee_lite_pull_consumer_subscribe(self._open, ctypes.byref(subscription), ctypes.byref(error)), error)

    def unsubscribe(self, topic: str) -> None:
        _lib.apogee_lite_pull_consumer_unsubscribe(self._open, topic.encode())

    def assign(self, queues: Iterable[Queue]) -> None:
        """These queues, whoever else has them, instead of those assigned before."""
        wanted, error = [each._native() for each in queues], _library.Error()
        _check(_lib.apogee_lite_pull_consumer_assign(self._open, (_library.Queue * len(wanted))(*wanted), len(wanted), ctypes.byref(error)), error)

    def poll(self, timeout: float = 5.0) -> List[Received]:
        """Messages of one queue; none if there are none within the time."""
        error, batch = _library.Error(), ctypes.c_void_p()
        _check(_lib.apogee_lite_pull_consumer_poll(self._open, int(timeout * 1000), ctypes.byref(batch), ctypes.byref(error)), error)
        try:
            return [Received(_lib.apogee_received_copy(_lib.apogee_batch_message(batch, at))) for at in range(_lib.apogee_batch_size(batch))]
        finally:
            _lib.apogee_batch_free(batch)

    def _seek(self, queue: Queue, offset: int) -> None:
        error = _library.Error()
        _check(_lib.apogee_lite_pull_consumer_seek(self._open, ctypes.byref(queue._native()), offset, ctypes.byref(error)), error)

    def seek(self, queue: Queue, offset: int) -> None:
        """Where poll() goes on in a queue it has."""
        if offset < 0:
            raise ValueError(f"there is no offset {offset}")
        self._seek(queue, offset)

    def seek_to_begin(self, queue: Queue) -> None:
        self._seek(queue, _library.SEEK_BEGIN)

    def seek_to_end(self, queue: Queue) -> None:
        self._seek(queue, _library.SEEK_END)

    def commit(self) -> None:
        """What was polled is done; stored at the brokers soon. `auto_commit`, on unless set to False, does it by itself."""
        _lib.apogee_lite_pull_consumer_commit(self._open)

    def committed(self, queue: Queue) -> Optional[int]:
        """Where the group stands; None: nowhere yet."""
        error, offset = _library.Error(), ctypes.c_int64()
        _check(_lib.apogee_lite_pull_consumer_committed(self._open, ctypes.byref(queue._native()), ctypes.byref(offset), ctypes.byref(error)), error)
        return None if offset.value < 0 else offset.value

    @property
    def queue_count(self) -> int:
        return _lib.apogee_lite_pull_consumer_queue_count(self._open)


def _subscribe(out: _library.Subscription, topic: str, expression: str) -> None:
    is_sql = expression.startswith("sql:")
    out.topic, out.type, out.expression = topic.encode(), b"SQL92" if is_sql else b"TAG", (expression[4:].strip() if is_sql else expression).encode()


def _consumed(function, messages) -> int:
    """0: done. False and whatever is raised: deliver them again later."""
    try:
        return 1 if function(messages()) is False else 0
    except BaseException:  # also CancelledError and SystemExit: ctypes would answer 0 for them
        traceback.print_exc()
        return 1


def _outcome(function, argument) -> int:
    """Nothing that is raised may cross the library: the broker asks again."""
    try:
        return int(function(argument()))
    except BaseException:
        traceback.print_exc()
        return UNKNOWN


class Client(_Object):
    """Owns the threads and connections of everything made from it."""

    _free = _lib.apogee_client_free
    _opened = weakref.WeakSet()  # apart: the last to be closed

    def __init__(self, log: Optional[Callable[[int, str], None]] = None, **settings):
        error, handle, (pairs, count) = _library.Error(), ctypes.c_void_p(), _settings(settings)
        function = _Function(log) if log else None
        call, number = (_logged, function.number) if function else (_library.LogFunction(), None)
        _check(_lib.apogee_client_start(pairs, count, call, number, ctypes.byref(handle), ctypes.byref(error)), error)
        super().__init__(handle, function=function)

    @property
    def id(self) -> str:
        return _lib.apogee_client_id(self._open).decode()

    def shutdown(self) -> None:
        _lib.apogee_client_shutdown(self._open)

    def create_topic(self, topic: str, queues: int = 8, cluster: Optional[str] = None, timeout: float = 5.0) -> None:
        """On all masters of the cluster, or of all clusters."""
        error = _library.Error()
        _check(_lib.apogee_create_topic(self._open, topic.encode(), queues, cluster.encode() if cluster else None, int(timeout * 1000), ctypes.byref(error)), error)

    def delete_topic(self, topic: str, cluster: str, timeout: float = 5.0) -> None:
        error = _library.Error()
        _check(_lib.apogee_delete_topic(self._open, topic.encode(), cluster.encode(), int(timeout * 1000), ctypes.byref(error)), error)

    def lag(self, group: str, topic: Optional[str] = None, timeout: float = 5.0) -> int:
        """How many messages the group has not consumed yet."""
        error, count = _library.Error(), ctypes.c_int64()
        _check(_lib.apogee_group_lag(self._open, group.encode(), topic.encode() if topic else None, int(timeout * 1000), ctypes.byref(count), ctypes.byref(error)), error)
        return count.value

    def producer(self, group: str, **settings) -> Producer:
        error, handle, (pairs, count) = _library.Error(), ctypes.c_void_p(), _settings({"group": group, **settings})
        _check(_lib.apogee_producer_start(self._open, pairs, count, ctypes.byref(handle), ctypes.byref(error)), error)
        return Producer(handle, self)

    def push_consumer(self, group: str, subscriptions: Dict[str, str], consume: Callable[[List[Received]], Optional[bool]], **settings) -> PushConsumer:
        """`consume(messages)` runs on threads of the library's, several at once unless `orderly=True`; False or an exception: again later.
        `subscriptions`: topic -> tags ("paid || refunded", "*"), or "sql: amount > 100"."""
        topics = (_library.Subscription * len(subscriptions))()
        for each, (topic, expression) in zip(topics, subscriptions.items()):
            _subscribe(each, topic, expression)
        function = _Function(consume)
        error, handle, (pairs, count) = _library.Error(), ctypes.c_void_p(), _settings({"group": group, **settings})
        _check(_lib.apogee_push_consumer_start(self._open, pairs, count, topics, len(subscriptions), _consume, function.number, ctypes.byref(handle),
                                               ctypes.byref(error)), error)
        return PushConsumer(handle, self, function)

    def lite_pull_consumer(self, group: str, **settings) -> LitePullConsumer:
        error, handle, (pairs, count) = _library.Error(), ctypes.c_void_p(), _settings({"group": group, **settings})
        _check(_lib.apogee_lite_pull_consumer_start(self._open, pairs, count, ctypes.byref(handle), ctypes.byref(error)), error)
        return LitePullConsumer(handle, self)

    def transactional_producer(self, group: str, check: Callable[[Received], int], **settings) -> TransactionalProducer:
        """`check(message)` tells the outcome when a broker asks; on a thread of the library's."""
        error, handle, (pairs, count) = _library.Error(), ctypes.c_void_p(), _settings({"group": group, **settings})
        function = _Function(check)
        _check(_lib.apogee_transactional_producer_start(self._open, pairs, count, _asked, function.number, ctypes.byref(handle), ctypes.byref(error)), error)
        return TransactionalProducer(handle, self, function)


def _close_all(opened) -> None:
    while opened:
        try:
            opened.pop().close()
        except BaseException:  # Ctrl-C: the rest is not to be left open
            traceback.print_exc()


def _wait_for_callbacks(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _running and time.monotonic() < deadline:
        time.sleep(0.01)


def _interrupt_callbacks() -> None:
    """Those that closed their consumer themselves, or outlived its `shutdown_wait`. One that waits for something stays there, and is no harm."""
    _wait_for_callbacks(1)
    for thread in list(_running):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
    _wait_for_callbacks(1)


@atexit.register
def _end() -> None:
    """The interpreter ends threads that want it afterwards by unwinding them, and those of a C++ library abort the process then."""
    _close_all(_Object._opened)
    _interrupt_callbacks()
    _close_all(Client._opened)


def _forget() -> None:
    """A forked child has none of the library's threads: who frees there waits for them for ever."""
    for opened in (_Object._opened, Client._opened):
        while opened:
            opened.pop()._handle = None


os.register_at_fork(after_in_child=_forget)
