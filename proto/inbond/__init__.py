"""What every inbond node shares: messages and their codec, keys, certificates, processes, the command line's root."""

import os

# gRPC has no switch for the lowest TLS version; it reads TLS 1.2's cipher list once, when it is first imported. All
# our keys are ECDSA, so a list of RSA suites alone leaves TLS 1.2 nothing to agree on and only TLS 1.3 remains.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"
