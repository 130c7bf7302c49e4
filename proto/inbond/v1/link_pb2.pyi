from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("hello", "welcome", "head", "chunk", "heartbeat", "goodbye", "abort")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    welcome: Welcome
    head: Head
    chunk: Chunk
    heartbeat: Heartbeat
    goodbye: Goodbye
    abort: Abort
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., head: _Optional[_Union[Head, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., abort: _Optional[_Union[Abort, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("nonce", "version", "session")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    version: str
    session: bytes
    def __init__(self, nonce: _Optional[bytes] = ..., version: _Optional[str] = ..., session: _Optional[bytes] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("token", "session")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    token: bytes
    session: bytes
    def __init__(self, token: _Optional[bytes] = ..., session: _Optional[bytes] = ...) -> None: ...

class Head(_message.Message):
    __slots__ = ("number", "request", "reply", "parts", "body")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    number: int
    request: Request
    reply: Reply
    parts: _containers.RepeatedScalarFieldContainer[int]
    body: bytes
    def __init__(self, number: _Optional[int] = ..., request: _Optional[_Union[Request, _Mapping]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., parts: _Optional[_Iterable[int]] = ..., body: _Optional[bytes] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("id", "job", "kind", "step", "round", "attempt", "plan_digest", "expires")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    id: str
    job: str
    kind: str
    step: str
    round: int
    attempt: int
    plan_digest: str
    expires: float
    def __init__(self, id: _Optional[str] = ..., job: _Optional[str] = ..., kind: _Optional[str] = ..., step: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., plan_digest: _Optional[str] = ..., expires: _Optional[float] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("to", "status", "reason")
    TO_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    to: str
    status: str
    reason: str
    def __init__(self, to: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("number", "index", "data")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    number: int
    index: int
    data: bytes
    def __init__(self, number: _Optional[int] = ..., index: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("count", "echo")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ECHO_FIELD_NUMBER: _ClassVar[int]
    count: int
    echo: bool
    def __init__(self, count: _Optional[int] = ..., echo: _Optional[bool] = ...) -> None: ...

class Abort(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("code", "reason")
    class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CODE_UNSPECIFIED: _ClassVar[Goodbye.Code]
        CODE_DUPLICATE: _ClassVar[Goodbye.Code]
        CODE_REVOKED: _ClassVar[Goodbye.Code]
        CODE_VIOLATION: _ClassVar[Goodbye.Code]
        CODE_SHUTDOWN: _ClassVar[Goodbye.Code]
        CODE_REPLACED: _ClassVar[Goodbye.Code]
        CODE_SILENT: _ClassVar[Goodbye.Code]
    CODE_UNSPECIFIED: Goodbye.Code
    CODE_DUPLICATE: Goodbye.Code
    CODE_REVOKED: Goodbye.Code
    CODE_VIOLATION: Goodbye.Code
    CODE_SHUTDOWN: Goodbye.Code
    CODE_REPLACED: Goodbye.Code
    CODE_SILENT: Goodbye.Code
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: Goodbye.Code
    reason: str
    def __init__(self, code: _Optional[_Union[Goodbye.Code, str]] = ..., reason: _Optional[str] = ...) -> None: ...
