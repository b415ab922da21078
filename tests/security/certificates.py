"""Certificates for a test, made by openssl: an authority, a server's and a client's, and an authority nobody trusts."""

from __future__ import annotations

import subprocess
from pathlib import Path

KEY_PASSWORD = "open-key-sesame"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificates:
    """PEM files in a folder.

    Attributes:
        authority: its certificate.
        stranger: the certificate of another authority.
        server: key and certificate of 127.0.0.1, in one file.
        client, client_key: a client's certificate, and its key, encrypted with `KEY_PASSWORD`.
        client_plain: key and certificate of the client in one file, not encrypted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = self._authority("authority")
        self.stranger = self._authority("stranger")
        self._signed("server", "subjectAltName=IP:127.0.0.1")
        self.server = self._joined("server")
        self.client = self._signed("client", "extendedKeyUsage=clientAuth")
        self.client_plain = self._joined("client")
        self.client_key = folder / "client.encrypted.key"
        self._openssl("pkcs8", "-topk8", "-in", "client.key", "-out", self.client_key.name, "-passout",
                      f"pass:{KEY_PASSWORD}")  # fmt: skip

    def _authority(self, name: str) -> Path:
        self._openssl("req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={name}", "-out", f"{name}.pem",
                      "-keyout", f"{name}.key")  # fmt: skip
        return self._folder / f"{name}.pem"

    def _signed(self, name: str, extension: str) -> Path:
        self._openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self._folder / f"{name}.ext").write_text(extension + "\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
                      "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
        return self._folder / f"{name}.pem"

    def _joined(self, name: str) -> Path:
        joined = self._folder / f"{name}.all.pem"
        joined.write_bytes(b"".join((self._folder / f"{name}.{kind}").read_bytes() for kind in ("key", "pem")))
        return joined

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)
