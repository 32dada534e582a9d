"""A small stub of the Hugging Face Hub, which the real client reaches through ``HF_ENDPOINT``.

It keeps models as commits of files, serves large files from another address as the Hub does, and takes uploads in the
Hub's four steps: what goes where, upload of large files, commit, and validation of the card. ``fail`` makes the next
requests of one kind go wrong; ``asked`` lists what was asked for.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import yaml
from stub import CUT, Handler, Server

TOKEN = "hf_neverShowThisTokenToAnybody0123456789"
OWNER = "some-one"
LARGE = (".h5", ".bin", ".npz")
"""Endings of files that the Hub keeps apart from git."""


@dataclass
class Repository:
    """A model: the files of each commit, oldest first, and the tags."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files, message="upload"):
        number = str(len(self.commits))
        name = hashlib.sha1(number.encode() + b"".join(files.values())).hexdigest()
        self.commits[name] = dict(files)
        self.messages.append(message)
        return name

    def resolve(self, revision):
        """Return the commit of a branch, a tag or a commit; None if there is none."""
        if revision == "main":
            return list(self.commits)[-1]
        return self.tags.get(revision, revision if revision in self.commits else None)


class HubStub(Server):
    """What the Hub holds, and the answer to each request."""

    def __init__(self):
        super().__init__(HubHandler)
        self.models, self.uploads, self.asked = {}, {}, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def hold(self, name, files, **settings):
        """Put a model there, or another commit of it, and return the commit."""
        return self.models.setdefault(name, Repository(**settings)).commit(files)

    def kinds(self):
        return [kind for kind, _ in self.asked]

    def files_asked_for(self):
        return {path.rpartition("/resolve/")[2].partition("/")[2] for kind, path in self.asked if kind == "file"}

    def answer(self, method, path, content, *, signed_in, host):
        """Return status, headers and body."""
        address = urlsplit(path).path
        matches = ((kind, re.fullmatch(pattern, f"{method} {address}")) for pattern, kind in ROUTES)
        kind, found = next(((kind, match) for kind, match in matches if match), (None, None))
        if found is None:
            return 404, {}, b"no such page"
        self.asked.append((kind, unquote(address)))
        if (answer := self.planned(kind)) is not None:
            return answer if answer == CUT else failure(*answer)
        parts = {name: unquote(value) for name, value in found.groupdict().items()}
        if kind not in ("info", "tree", "file", "stored") and not signed_in:
            return failure(401, {"error": "Invalid username or password."})
        if name := parts.pop("name", None):
            model = parts["model"] = self.models.get(name)
            if model is None or (model.private and not signed_in):
                return failure(404 if signed_in else 401, {"code": "RepoNotFound"})
            parts["commit"] = model.resolve(parts.pop("revision", "main"))
            if parts["commit"] is None:
                return failure(404, {"code": "RevisionNotFound"})
        answer = getattr(self, f"on_{kind}")(**parts, content=content, host=host, name=name)
        return answer if isinstance(answer, tuple) else (200, {}, json.dumps(answer).encode())

    def on_whoami(self, **_):
        return {"type": "user", "name": OWNER, "auth": {"accessToken": {"role": "write"}}}

    def on_info(self, *, model, commit, name, **_):
        siblings = [{"rfilename": path} for path in model.commits[commit]]
        return {"id": name, "modelId": name, "sha": commit, "private": model.private, "tags": [], "siblings": siblings}

    def on_tree(self, *, model, commit, **_):
        rows = []
        for path, content in model.commits[commit].items():
            row = {"type": "file", "path": path, "size": len(content), "oid": git_checksum(content)}
            if is_large(path):
                row["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
            rows.append(row)
        return rows

    def on_file(self, *, model, commit, path, host, **_):
        content = model.commits[commit].get(path)
        if content is None:
            return failure(404, {"code": "EntryNotFound"})
        if not is_large(path):
            return 200, {"ETag": f'"{git_checksum(content)}"', "X-Repo-Commit": commit}, content
        self.uploads[sha256(content)] = content
        linked = {"X-Linked-ETag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": commit}
        elsewhere = host.replace("127.0.0.1", "localhost")  # the Hub's storage has another host, which gets no token
        return 302, {**linked, "Location": f"http://{elsewhere}/stored/{sha256(content)}"}, b""

    def on_stored(self, *, checksum, **_):
        return 200, {"ETag": f'"{checksum}"'}, self.uploads[checksum]

    def on_create(self, *, content, **_):
        asked = json.loads(content)
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        if name in self.models:
            return failure(409, {"error": "You already created this model repo"})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.models[name] = Repository(private=private)
        self.models[name].commit({".gitattributes": b"*.h5 filter=lfs\n"}, "initial commit")
        return {"url": f"{self.address}/{name}"}

    def on_validate(self, *, content, **_):
        card = json.loads(content)["content"]
        block = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
        try:
            metadata = yaml.safe_load(block[1])
            assert isinstance(metadata["license"], str)
        except (TypeError, KeyError, AssertionError, yaml.YAMLError) as error:
            return failure(400, {"errors": [{"message": str(error)}], "warnings": []})
        return {"errors": [], "warnings": []}

    def on_preupload(self, *, content, **_):
        paths = [one["path"] for one in json.loads(content)["files"]]
        modes = {path: "lfs" if is_large(path) else "regular" for path in paths}
        return {"files": [{"path": p, "uploadMode": modes[p], "shouldIgnore": False, "oid": None} for p in paths]}

    def on_batch(self, *, content, host, **_):
        objects = json.loads(content)["objects"]
        actions = [{"upload": {"href": f"http://{host}/upload/{one['oid']}"}} for one in objects]
        return {
            "transfer": "basic",
            "objects": [{**one, "actions": action} for one, action in zip(objects, actions, strict=True)],
        }

    def on_upload(self, *, checksum, content, **_):
        self.uploads[checksum] = content
        return 200, {}, b""

    def on_commit(self, *, model, commit, content, name, **_):
        lines = [json.loads(line) for line in content.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit", commit) != commit:
            return failure(412, {"error": "A commit has happened since. Please refresh and try again."})
        files = dict(model.commits[commit])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.uploads[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        made = model.commit(files, header["summary"])
        return {"commitUrl": f"{self.address}/{name}/commit/{made}", "commitOid": made, "success": True}


class HubHandler(Handler):
    """Every request may have a body, which the client sends in chunks if it is large."""

    def respond(self):
        content = self.content()
        if self.headers.get("Transfer-Encoding") == "chunked":
            while length := int(self.rfile.readline(), 16):
                content += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
        signed_in = self.headers.get("Authorization") == f"Bearer {TOKEN}" or self.command == "PUT"
        answer = self.stub.answer(self.command, self.path, content, signed_in=signed_in, host=self.headers["Host"])
        if answer == CUT:
            self.close_connection = True
        else:
            self.send(*answer)


for method in ("GET", "HEAD", "POST", "PUT"):
    setattr(HubHandler, f"do_{method}", HubHandler.respond)


NAME = r"(?P<name>[^/]+/[^/]+)"
ROUTES = (
    (r"GET /api/whoami-v2", "whoami"),
    (rf"GET /api/models/{NAME}/tree/(?P<revision>[^/]+)", "tree"),
    (rf"GET /api/models/{NAME}/revision/(?P<revision>[^/]+)", "info"),
    (rf"GET /api/models/{NAME}", "info"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"POST /api/models/{NAME}/preupload/(?P<revision>[^/]+)", "preupload"),
    (rf"POST /api/models/{NAME}/commit/(?P<revision>[^/]+)", "commit"),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /upload/(?P<checksum>\w+)", "upload"),
    (r"(GET|HEAD) /stored/(?P<checksum>\w+)", "stored"),
    (rf"(GET|HEAD) /{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "file"),
)


def failure(status, document):
    """Return an error as the Hub reports it, with its reason in the headers too."""
    said = (("X-Error-Message", "error"), ("X-Error-Code", "code"))
    return status, {header: document[key] for header, key in said if key in document}, json.dumps(document).encode()


def is_large(path):
    return path.endswith(LARGE)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_checksum(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
