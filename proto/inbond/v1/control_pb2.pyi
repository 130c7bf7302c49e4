from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChallengeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChallengeReply(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    def __init__(self, nonce: _Optional[str] = ...) -> None: ...

class CatalogueRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CatalogueReply(_message.Message):
    __slots__ = ("catalogues",)
    CATALOGUES_FIELD_NUMBER: _ClassVar[int]
    catalogues: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, catalogues: _Optional[_Iterable[str]] = ...) -> None: ...

class OrderRequest(_message.Message):
    __slots__ = ("order", "sum_key")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    SUM_KEY_FIELD_NUMBER: _ClassVar[int]
    order: str
    sum_key: bytes
    def __init__(self, order: _Optional[str] = ..., sum_key: _Optional[bytes] = ...) -> None: ...

class ExplainReply(_message.Message):
    __slots__ = ("plan", "coordinator", "verdicts")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    plan: str
    coordinator: str
    verdicts: _containers.RepeatedCompositeFieldContainer[PartyVerdict]
    def __init__(self, plan: _Optional[str] = ..., coordinator: _Optional[str] = ..., verdicts: _Optional[_Iterable[_Union[PartyVerdict, _Mapping]]] = ...) -> None: ...

class PartyVerdict(_message.Message):
    __slots__ = ("party", "verdict", "problem")
    PARTY_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    party: str
    verdict: str
    problem: str
    def __init__(self, party: _Optional[str] = ..., verdict: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class JobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class JobView(_message.Message):
    __slots__ = ("job", "name", "kind", "owner", "state", "reason", "created", "changed", "plan", "verdicts", "requests", "bytes_to_parties", "bytes_from_parties", "order")
    JOB_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_TO_PARTIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FROM_PARTIES_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    job: str
    name: str
    kind: str
    owner: str
    state: str
    reason: str
    created: float
    changed: float
    plan: str
    verdicts: _containers.RepeatedCompositeFieldContainer[PartyVerdict]
    requests: int
    bytes_to_parties: int
    bytes_from_parties: int
    order: str
    def __init__(self, job: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., owner: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., created: _Optional[float] = ..., changed: _Optional[float] = ..., plan: _Optional[str] = ..., verdicts: _Optional[_Iterable[_Union[PartyVerdict, _Mapping]]] = ..., requests: _Optional[int] = ..., bytes_to_parties: _Optional[int] = ..., bytes_from_parties: _Optional[int] = ..., order: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JobList(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[JobView]
    def __init__(self, jobs: _Optional[_Iterable[_Union[JobView, _Mapping]]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("job", "after")
    JOB_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    job: str
    after: int
    def __init__(self, job: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("number", "time", "body")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: float
    body: str
    def __init__(self, number: _Optional[int] = ..., time: _Optional[float] = ..., body: _Optional[str] = ...) -> None: ...

class ResultChunk(_message.Message):
    __slots__ = ("data", "total")
    DATA_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    total: int
    def __init__(self, data: _Optional[bytes] = ..., total: _Optional[int] = ...) -> None: ...

class ToOpenRequest(_message.Message):
    __slots__ = ("job", "request")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    job: str
    request: str
    def __init__(self, job: _Optional[str] = ..., request: _Optional[str] = ...) -> None: ...

class OpenedChunk(_message.Message):
    __slots__ = ("job", "request", "party", "data")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    PARTY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    job: str
    request: str
    party: str
    data: bytes
    def __init__(self, job: _Optional[str] = ..., request: _Optional[str] = ..., party: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class ProposedRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DecideRequest(_message.Message):
    __slots__ = ("job", "approval")
    JOB_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    job: str
    approval: str
    def __init__(self, job: _Optional[str] = ..., approval: _Optional[str] = ...) -> None: ...

class NodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodesReply(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: str
    def __init__(self, status: _Optional[str] = ...) -> None: ...
