"""A Git LFS server as the hosting services run them: it says where to put and get, and the bytes go to the bucket.

lfs_server.py ENDPOINT BUCKET; prints its port."""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.config
import botocore.session

ENDPOINT, BUCKET = sys.argv[1:3]
CONFIG = botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"})
S3 = botocore.session.get_session().create_client(
    "s3", endpoint_url=ENDPOINT, region_name="us-east-1", config=CONFIG
)
THERE = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method = "put_object" if asked["operation"] == "upload" else "get_object"
        verb = "upload" if method == "put_object" else "download"
        objects = []
        for one in asked["objects"]:
            answer = {"oid": one["oid"], "size": one["size"], "authenticated": True}
            # What was handed out is taken for sent, as a server with a data base would know.
            if verb == "download" or one["oid"] not in THERE:
                href = S3.generate_presigned_url(method, {"Bucket": BUCKET, "Key": one["oid"]})
                answer["actions"] = {verb: {"href": href}}
                THERE.add(one["oid"])
            objects.append(answer)
        body = json.dumps({"transfer": "basic", "objects": objects}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


S3.create_bucket(Bucket=BUCKET)
SERVER = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(SERVER.server_port, flush=True)
SERVER.serve_forever()
