"""libapogee.so as ctypes sees it: one declaration a function of <apogee/c.h>."""
import ctypes
import ctypes.util
import os
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int32, c_int64, c_size_t, c_void_p

DETAIL_BYTES = 1024
SEEK_END, SEEK_BEGIN = -1, -2


class Error(Structure):
    _fields_ = [("code", c_int32), ("response_code", c_int32), ("perhaps_done", c_int32), ("detail", c_char * DETAIL_BYTES)]


class Setting(Structure):
    _fields_ = [("name", c_char_p), ("value", c_char_p)]


class Message(Structure):
    _fields_ = [("struct_size", c_size_t), ("topic", c_char_p), ("body", c_void_p), ("body_length", c_size_t), ("tag", c_char_p), ("keys", POINTER(c_char_p)),
                ("key_count", c_size_t), ("properties", POINTER(Setting)), ("property_count", c_size_t), ("delivery", c_int32), ("delivery_value", c_int64),
                ("flag", c_int32), ("no_wait_store", c_int32)]


class Subscription(Structure):
    _fields_ = [("topic", c_char_p), ("type", c_char_p), ("expression", c_char_p)]


class Queue(Structure):
    _fields_ = [("topic", c_char_p), ("broker", c_char_p), ("queue_id", c_int32)]


LogFunction = CFUNCTYPE(None, c_void_p, c_int32, POINTER(c_char), c_size_t)
SendCallback = CFUNCTYPE(None, c_void_p, c_void_p, POINTER(Error))
CheckFunction = CFUNCTYPE(c_int32, c_void_p, c_void_p)
LocalFunction = CFUNCTYPE(c_int32, c_void_p, c_void_p)

ConsumeFunction = CFUNCTYPE(c_int32, c_void_p, POINTER(c_void_p), c_size_t)

_OUT, _ERROR = POINTER(c_void_p), POINTER(Error)
_FUNCTIONS = {
    "apogee_version": (c_char_p, []),
    "apogee_code_name": (c_char_p, [c_int32]),
    "apogee_client_start": (c_int32, [POINTER(Setting), c_size_t, LogFunction, c_void_p, _OUT, _ERROR]),
    "apogee_client_id": (c_char_p, [c_void_p]),
    "apogee_client_shutdown": (None, [c_void_p]),
    "apogee_client_free": (None, [c_void_p]),
    "apogee_receipt_status": (c_int32, [c_void_p]),
    "apogee_receipt_message_id": (c_char_p, [c_void_p]),
    "apogee_receipt_offset_message_id": (c_char_p, [c_void_p]),
    "apogee_receipt_broker": (c_char_p, [c_void_p]),
    "apogee_receipt_queue_id": (c_int32, [c_void_p]),
    "apogee_receipt_queue_offset": (c_int64, [c_void_p]),
    "apogee_receipt_recall_handle": (c_char_p, [c_void_p]),
    "apogee_receipt_transaction_id": (c_char_p, [c_void_p]),
    "apogee_receipt_free": (None, [c_void_p]),
    "apogee_received_topic": (c_char_p, [c_void_p]),
    "apogee_received_body": (c_void_p, [c_void_p, POINTER(c_size_t)]),
    "apogee_received_tag": (c_char_p, [c_void_p]),
    "apogee_received_key_count": (c_size_t, [c_void_p]),
    "apogee_received_key": (c_char_p, [c_void_p, c_size_t]),
    "apogee_received_property": (c_char_p, [c_void_p, c_char_p]),
    "apogee_received_message_id": (c_char_p, [c_void_p]),
    "apogee_received_broker": (c_char_p, [c_void_p]),
    "apogee_received_queue_id": (c_int32, [c_void_p]),
    "apogee_received_queue_offset": (c_int64, [c_void_p]),
    "apogee_received_reconsume_times": (c_int32, [c_void_p]),
    "apogee_received_born_ms": (c_int64, [c_void_p]),
    "apogee_received_stored_ms": (c_int64, [c_void_p]),
    "apogee_received_copy": (c_void_p, [c_void_p]),
    "apogee_received_free": (None, [c_void_p]),
    "apogee_producer_start": (c_int32, [c_void_p, POINTER(Setting), c_size_t, _OUT, _ERROR]),
    "apogee_transactional_producer_start": (c_int32, [c_void_p, POINTER(Setting), c_size_t, CheckFunction, c_void_p, _OUT, _ERROR]),
    "apogee_producer_free": (None, [c_void_p]),
    "apogee_producer_send": (c_int32, [c_void_p, POINTER(Message), c_int64, _OUT, _ERROR]),
    "apogee_producer_send_by_key": (c_int32, [c_void_p, POINTER(Message), c_char_p, c_int64, _OUT, _ERROR]),
    "apogee_producer_send_to": (c_int32, [c_void_p, POINTER(Message), c_char_p, c_int32, c_int64, _OUT, _ERROR]),
    "apogee_producer_send_batch": (c_int32, [c_void_p, POINTER(Message), c_size_t, c_int64, _OUT, _ERROR]),
    "apogee_producer_send_oneway": (c_int32, [c_void_p, POINTER(Message), _ERROR]),
    "apogee_producer_send_async": (c_int32, [c_void_p, POINTER(Message), c_int64, SendCallback, c_void_p, _ERROR]),
    "apogee_producer_send_in_transaction": (c_int32, [c_void_p, POINTER(Message), LocalFunction, c_void_p, c_int64, _OUT, POINTER(c_int32), _ERROR]),
    "apogee_producer_request": (c_int32, [c_void_p, POINTER(Message), c_int64, _OUT, _ERROR]),
    "apogee_producer_reply": (c_int32, [c_void_p, c_void_p, c_char_p, c_size_t, c_int64, _ERROR]),
    "apogee_producer_recall": (c_int32, [c_void_p, c_char_p, c_char_p, c_int64, _ERROR]),
    "apogee_producer_queue_count": (c_int32, [c_void_p, c_char_p, c_int64, POINTER(c_size_t), _ERROR]),
    "apogee_create_topic": (c_int32, [c_void_p, c_char_p, c_int32, c_char_p, c_int64, _ERROR]),
    "apogee_delete_topic": (c_int32, [c_void_p, c_char_p, c_char_p, c_int64, _ERROR]),
    "apogee_group_lag": (c_int32, [c_void_p, c_char_p, c_char_p, c_int64, POINTER(c_int64), _ERROR]),
    "apogee_push_consumer_start": (c_int32, [c_void_p, POINTER(Setting), c_size_t, POINTER(Subscription), c_size_t, ConsumeFunction, c_void_p, _OUT, _ERROR]),
    "apogee_push_consumer_suspend": (None, [c_void_p]),
    "apogee_push_consumer_resume": (None, [c_void_p]),
    "apogee_push_consumer_queue_count": (c_size_t, [c_void_p]),
    "apogee_push_consumer_free": (None, [c_void_p]),
    "apogee_batch_size": (c_size_t, [c_void_p]),
    "apogee_batch_message": (c_void_p, [c_void_p, c_size_t]),
    "apogee_batch_free": (None, [c_void_p]),
    "apogee_lite_pull_consumer_start": (c_int32, [c_void_p, POINTER(Setting), c_size_t, _OUT, _ERROR]),
    "apogee_lite_pull_consumer_subscribe": (c_int32, [c_void_p, POINTER(Subscription), _ERROR]),
    "apogee_lite_pull_consumer_unsubscribe": (None, [c_void_p, c_char_p]),
    "apogee_lite_pull_consumer_assign": (c_int32, [c_void_p, POINTER(Queue), c_size_t, _ERROR]),
    "apogee_lite_pull_consumer_poll": (c_int32, [c_void_p, c_int64, _OUT, _ERROR]),
    "apogee_lite_pull_consumer_seek": (c_int32, [c_void_p, POINTER(Queue), c_int64, _ERROR]),
    "apogee_lite_pull_consumer_commit": (None, [c_void_p]),
    "apogee_lite_pull_consumer_committed": (c_int32, [c_void_p, POINTER(Queue), POINTER(c_int64), _ERROR]),
    "apogee_lite_pull_consumer_queue_count": (c_size_t, [c_void_p]),
    "apogee_lite_pull_consumer_free": (None, [c_void_p]),
}


def load():
    name = os.environ.get("APOGEE_LIBRARY") or ctypes.util.find_library("apogee") or "libapogee.so.0"
    library = ctypes.CDLL(name)
    for function, (result, arguments) in _FUNCTIONS.items():
        declared = getattr(library, function)
        declared.restype, declared.argtypes = result, arguments
    return library
