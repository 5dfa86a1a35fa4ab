"""A hub for tests: the few requests of huggingface_hub, answered from memory by a local server."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """What the hub holds. repos: name -> {"files", "tags", "commits"}; large: sha256 -> bytes."""

    def __init__(self):
        self.repos: dict[str, dict] = {}
        self.large: dict[str, bytes] = {}
        self.uploads = 0  # of large files
        self.refuse_commits = False
        self.url = ""


@contextlib.contextmanager
def serve():
    """Runs a Hub at hub.url."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, content=None, code=200, headers=()):
        body = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code="RepoNotFound"):
        self._answer({"error": code}, 404, [("X-Error-Code", code)])

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _repo(self):
        match = re.match(r"/api/(models|datasets)/([^/]+/[^/?]+)", self.path)
        return self.hub.repos.get(match[2]) if match else None

    def do_PUT(self):
        content = self._body()
        self.hub.large[hashlib.sha256(content).hexdigest()] = content
        self.hub.uploads += 1
        self._answer()

    def do_POST(self):
        body = self._body()
        if self.path == "/api/repos/create":
            name = json.loads(body)["name"]
            user = json.loads(body).get("organization") or "someone"
            repo = {"files": {}, "tags": {}, "commits": []}
            self.hub.repos.setdefault(f"{user}/{name}", repo)
            self._answer({"url": f"{self.hub.url}/{user}/{name}"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._answer(
                {
                    "files": [
                        {
                            "path": f["path"],
                            "shouldIgnore": False,
                            "uploadMode": "lfs" if f["size"] > 100_000 else "regular",
                        }
                        for f in files
                    ]
                }
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {"oid": o["oid"], "size": o["size"]}
                | ({} if o["oid"] in self.hub.large else
                   {"actions": {"upload": {"href": f"{self.hub.url}/large/{o['oid']}"}}})
                for o in json.loads(body)["objects"]
            ]  # fmt: skip
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            self._commit(body)
        elif "/tag/" in self.path:
            repo = self._repo()
            repo["tags"][json.loads(body)["tag"]] = dict(repo["files"])
            self._answer()
        elif "/paths-info/" in self.path:
            self._answer([])
        else:
            self._answer({"error": self.path}, 404)

    def _commit(self, body: bytes):
        if self.hub.refuse_commits:
            return self._answer({"error": "the line was cut"}, 400)
        repo = self._repo()
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repo["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repo["files"][value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del repo["files"][value["path"]]
        repo["commits"].append(f"{len(repo['commits']) + 1:040x}")
        name = re.match(r"/api/(?:models|datasets)/([^/]+/[^/]+)/", self.path)[1]
        url = f"{self.hub.url}/{name}/commit/{repo['commits'][-1]}"
        self._answer({"commitUrl": url, "commitOid": repo["commits"][-1]})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path.startswith("/api/"):
            return self._api()
        match = re.match(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        repo = self.hub.repos.get(match[1])
        content = repo["files"].get(match[3]) if repo else None
        if content is None:
            return self._missing("EntryNotFound")
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        self._answer(content, 200, [("ETag", etag), ("X-Repo-Commit", repo["commits"][-1])])

    def _api(self):
        repo = self._repo()
        if repo is None:
            return self._missing()
        if self.path.endswith("/refs"):
            tags = [
                {"name": t, "ref": f"refs/tags/{t}", "targetCommit": "0" * 40} for t in repo["tags"]
            ]
            return self._answer({"branches": [], "converts": [], "tags": tags})
        revision = re.search(r"/revision/([^/?]+)", self.path)
        known = {"main", *repo["tags"], *repo["commits"]}
        if revision and revision[1] not in known:
            return self._missing("RevisionNotFound")
        if "/tree/" in self.path:
            return self._answer(
                [
                    {"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                    for p, c in repo["files"].items()
                ]
            )
        name = re.match(r"/api/(?:models|datasets)/([^/]+/[^/?]+)", self.path)[1]
        sha = repo["commits"][-1] if repo["commits"] else "0" * 40
        self._answer(
            {"id": name, "sha": sha, "siblings": [{"rfilename": path} for path in repo["files"]]}
        )
