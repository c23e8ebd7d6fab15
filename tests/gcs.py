"""A bucket of Google Cloud Storage on loopback: what Google documents of its XML API as far as remotes use it, in memory.

    python3 gcs.py BUCKET

Prints its port. No package carries a server that speaks this API whole: the emulators that there are take no uploads
over it, or let two conditional writers win. It is the metadata service of an instance, too, whose token `writer` all
requests need; `reader` may only read.
"""

import hashlib
import json
import re
import sys
import threading
import urllib.parse
from datetime import datetime, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree
from xml.sax.saxutils import escape

BUCKET = sys.argv[1]
# A page of a listing: small, so that there are several.
PAGE = 5
# Google refuses smaller parts, but for the last one.
PART_BYTES_MIN = 5 << 20

lock = threading.Lock()
objects = {}
uploads = {}
generations = iter(range(1_700_000_000_000_001, 1 << 62))


class Refused(Exception):
    """An answer that is no success: status and code."""


def etag(content):
    return '"%s"' % hashlib.md5(content).hexdigest()


class Bucket(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        # The length of an answer to HEAD is the object's.
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            if url.path.startswith("/computeMetadata/"):
                self.token()
                return
            bucket, _, name = url.path.lstrip("/").partition("/")
            self.check(bucket)
            verb = {"GET": self.get, "HEAD": self.get, "PUT": self.put, "POST": self.post}
            verb.get(self.command, self.delete)(urllib.parse.unquote(name), query, body)
        except Refused as refused:
            status, code = refused.args
            text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
            self.answer(status, text.encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def token(self):
        if self.headers.get("Metadata-Flavor") != "Google":
            raise Refused(403, "Forbidden")
        token = {"access_token": "writer", "expires_in": 3600, "token_type": "Bearer"}
        self.answer(200, json.dumps(token).encode(), [("Content-Type", "application/json")])

    def check(self, bucket):
        who = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if who not in ("reader", "writer"):
            raise Refused(401, "AuthenticationRequired")
        if bucket != BUCKET:
            raise Refused(404, "NoSuchBucket")
        if who == "reader" and self.command not in ("GET", "HEAD"):
            raise Refused(403, "AccessDenied")

    def stored(self, name, content):
        """Writes an object; the lock is held."""
        generation = next(generations)
        objects[name] = (content, generation, datetime.now(timezone.utc))
        return [("ETag", etag(content)), ("x-goog-generation", str(generation))]

    def put(self, name, query, body):
        if "uploadId" in query:
            with lock:
                parts = self.upload(query)
                parts[int(query["partNumber"])] = body
            self.answer(200, headers=[("ETag", etag(body))])
            return
        condition = self.headers.get("x-goog-if-generation-match")
        with lock:
            there = objects[name][1] if name in objects else 0
            if condition is not None and int(condition) != there:
                raise Refused(412, "PreconditionFailed")
            headers = self.stored(name, body)
        self.answer(200, headers=headers)

    def upload(self, query):
        if query["uploadId"] not in uploads:
            raise Refused(404, "NoSuchUpload")
        return uploads[query["uploadId"]]

    def post(self, name, query, body):
        with lock:
            if "uploads" in query:
                upload = str(next(generations))
                uploads[upload] = {}
                self.xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")
                return
            parts = self.upload(query)
            wanted = ElementTree.fromstring(body).findall("{*}Part")
            contents = [parts[int(part.findtext("{*}PartNumber"))] for part in wanted]
            tags = [part.findtext("{*}ETag") for part in wanted]
            if not contents or tags != [etag(part) for part in contents]:
                raise Refused(400, "InvalidPart")
            if any(len(part) < PART_BYTES_MIN for part in contents[:-1]):
                raise Refused(400, "EntityTooSmall")
            del uploads[query["uploadId"]]
            headers = self.stored(name, b"".join(contents))
        self.xml("CompleteMultipartUploadResult", f"<ETag>{escape(headers[0][1])}</ETag>", headers[1:])

    def xml(self, kind, inner, headers=()):
        text = f"<?xml version='1.0' encoding='UTF-8'?><{kind}>{inner}</{kind}>"
        self.answer(200, text.encode(), headers)

    def get(self, name, query, _body):
        if not name:
            self.list(query)
            return
        with lock:
            found = objects.get(name)
        if found is None or query.get("generation", str(found[1])) != str(found[1]):
            raise Refused(404, "NoSuchKey")
        content, generation, date = found
        status, part, size = 200, content, len(content)
        headers = [("ETag", etag(content)), ("x-goog-generation", str(generation)), ("Last-Modified", format_datetime(date, usegmt=True))]
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), min(int(asked[2]) + 1, size)
            if start >= size:
                raise Refused(416, "InvalidRange")
            status, part = 206, content[start:end]
            headers.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
        headers.append(("Content-Length", str(len(part))))
        self.answer(status, part, headers)

    def list(self, query):
        after = query.get("continuation-token", "")
        prefix = query.get("prefix", "")
        with lock:
            all_names = sorted(n for n in objects if n.startswith(prefix) and n > after)
            rows = [(n, *objects[n]) for n in all_names[:PAGE]]
        inner = "".join(
            f"<Contents><Key>{escape(name)}</Key><Generation>{generation}</Generation>"
            f"<LastModified>{date:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified><ETag>{escape(etag(content))}</ETag>"
            f"<Size>{len(content)}</Size></Contents>"
            for name, content, generation, date in rows
        )
        if len(all_names) > PAGE:
            inner += f"<IsTruncated>true</IsTruncated><NextContinuationToken>{escape(rows[-1][0])}</NextContinuationToken>"
        self.xml("ListBucketResult", inner)

    def delete(self, name, query, _body):
        with lock:
            gone = uploads.pop(query["uploadId"], None) if "uploadId" in query else objects.pop(name, None)
        if gone is None:
            raise Refused(404, "NoSuchKey")
        self.answer(204)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", 0), Bucket)
print(server.server_port, flush=True)
server.serve_forever()
