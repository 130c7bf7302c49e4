from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolRequest(_message.Message):
    __slots__ = ("invitation", "tls_request", "signing_request", "proof")
    INVITATION_FIELD_NUMBER: _ClassVar[int]
    TLS_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    invitation: bytes
    tls_request: bytes
    signing_request: bytes
    proof: bytes
    def __init__(self, invitation: _Optional[bytes] = ..., tls_request: _Optional[bytes] = ..., signing_request: _Optional[bytes] = ..., proof: _Optional[bytes] = ...) -> None: ...

class LoginRequest(_message.Message):
    __slots__ = ("name", "tls_request", "signing_request", "id_token", "password", "code")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TLS_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    ID_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    name: str
    tls_request: bytes
    signing_request: bytes
    id_token: str
    password: str
    code: str
    def __init__(self, name: _Optional[str] = ..., tls_request: _Optional[bytes] = ..., signing_request: _Optional[bytes] = ..., id_token: _Optional[str] = ..., password: _Optional[str] = ..., code: _Optional[str] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("tls_request", "signing_request")
    TLS_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    tls_request: bytes
    signing_request: bytes
    def __init__(self, tls_request: _Optional[bytes] = ..., signing_request: _Optional[bytes] = ...) -> None: ...

class Certificates(_message.Message):
    __slots__ = ("tls_certificate", "signing_certificate", "bundle", "deny_list")
    TLS_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    DENY_LIST_FIELD_NUMBER: _ClassVar[int]
    tls_certificate: bytes
    signing_certificate: bytes
    bundle: str
    deny_list: str
    def __init__(self, tls_certificate: _Optional[bytes] = ..., signing_certificate: _Optional[bytes] = ..., bundle: _Optional[str] = ..., deny_list: _Optional[str] = ...) -> None: ...

class DenyListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DenyListReply(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...
