"""A small stub of Kaggle's servers, which the real client reaches through a proxy setting.

It holds what it received: uploads byte for byte, folders sent as archives unpacked as Kaggle does, and in each version
only the files of that upload. ``fail`` makes the next calls of one method go wrong.
"""

import contextlib
import io
import json
import re
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "0123456789abcdef-never-show-this"
"""What the client signs in with."""

FOREIGN = ("KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR", "KAGGLE_KERNEL_RUN_TYPE", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
"""Variables that would lead the client elsewhere."""

CUT = "connection cut"
"""Ends the connection instead of an answer."""

SETTINGS = {"title": "Deepfake motion faces", "isPrivate": True, "licenseName": "other"}
"""Settings of a dataset that a test put there without a request."""


class Server:
    """A server on this machine that answers in threads of its own until it is closed."""

    def __init__(self, handler):
        self.answers = {}
        self.server = _HTTPServer(("127.0.0.1", 0), handler)
        self.server.stub = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def port(self):
        return self.server.server_address[1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def fail(self, kind, *answers):
        """Answer the next requests of this kind with these: CUT, (status, document), or None to let one through."""
        self.answers[kind] = list(answers)

    def planned(self, kind):
        """Return the answer that `fail` set for this request, or None."""
        return self.answers[kind].pop(0) if self.answers.get(kind) else None


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Print nothing: a client may be stopped in the middle of its question."""


class Handler(BaseHTTPRequestHandler):
    """Reads and writes for the stub whose server it belongs to."""

    protocol_version = "HTTP/1.1"

    @property
    def stub(self):
        return self.server.stub

    def content(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send(self, status, headers, body):
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def log_message(self, *_):
        pass


@dataclass
class Holding:
    """A dataset or a variation of a model: the request that made it, and the files of each version."""

    request: dict
    versions: list[dict[str, bytes]] = field(default_factory=list)


class KaggleStub(Server):
    """What Kaggle holds, and the answer to each call."""

    def __init__(self):
        super().__init__(KaggleHandler)
        self.calls = []
        self.uploads, self.datasets, self.notebooks, self.models, self.variations = {}, {}, {}, {}, {}
        self.outputs, self.page_size = {}, 200
        self.run_status = {"status": "COMPLETE"}

    def called(self, method):
        return [document for name, document in self.calls if name == method]

    def environment(self, home):
        """Return variables that lead the real client here, signed in with a key that nobody may ever see."""
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": f"http://127.0.0.1:{self.port}",
            "NO_PROXY": "",
            "no_proxy": "",
            "HOME": str(home),
            "TMPDIR": str(home),
            "KAGGLE_USERNAME": "some-one",
            "KAGGLE_KEY": KEY,
        }

    def answer(self, method, document):
        self.calls.append((method, document))
        if (answer := self.planned(method)) is not None:
            return answer
        name = "on_" + re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()
        return getattr(self, name, lambda _: missing(method))(document)

    def put(self, token, content, content_range):
        if "*/" in content_range:
            return (200 if self.uploads[token]["content"] is not None else 308), {}
        if (answer := self.planned("PUT")) is not None:
            return answer
        self.uploads[token]["content"] = content
        return 200, {}

    # Datasets

    def on_get_dataset_status(self, request):
        return {"status": "READY"} if dataset_name(request) in self.datasets else missing("Dataset")

    def on_get_dataset(self, request):
        return {"currentVersionNumber": len(self.datasets[dataset_name(request)].versions)}

    def on_get_dataset_metadata(self, request):
        sent = {**SETTINGS, **self.datasets[dataset_name(request)].request}
        kept = {"title": sent["title"], "isPrivate": sent["isPrivate"], "licenses": [{"name": sent["licenseName"]}]}
        return {"info": {**kept, "datasetSlug": request["datasetSlug"]}}

    def on_start_blob_upload(self, request):
        token = f"token-{len(self.uploads)}"
        self.uploads[token] = {"name": request["name"], "length": request["contentLength"], "content": None}
        return {"token": token, "createUrl": f"http://localhost/upload/{token}?upload_id=signed-{token}"}

    def on_create_dataset(self, request):
        holding = self.datasets[dataset_name(request)] = Holding(request)
        return self._received(holding, request.get("files", []), "datasets/" + dataset_name(request))

    def on_create_dataset_version(self, request):
        name = f"{request['ownerSlug']}/{request['datasetSlug']}"
        return self._received(self.datasets[name], request["body"].get("files", []), f"datasets/{name}")

    def _received(self, holding, files, place):
        holding.versions.append(unpacked([self.uploads[file["token"]] for file in files]))
        return {"ref": place, "url": f"https://www.kaggle.com/{place}", "status": "ok", "error": ""}

    def on_list_dataset_files(self, request):
        files = self.datasets[dataset_name(request)].versions[-1]
        return self._page(files, request, key="datasetFiles", size="totalBytes")

    def _page(self, files, request, *, key, size):
        start, names = int(request.get("pageToken") or 0), sorted(files)
        end = start + min(self.page_size, request.get("pageSize") or 20)
        rows = [{"name": name, size: len(files[name])} for name in names[start:end]]
        return {key: rows, "nextPageToken": str(end) if end < len(names) else ""}

    # Notebooks

    def on_save_kernel(self, request):
        self.notebooks[request["slug"]] = request
        return {"ref": request["slug"], "url": "https://www.kaggle.com/code/" + request["slug"], "versionNumber": 1}

    def on_get_kernel(self, request):
        name = f"{request['userName']}/{request['kernelSlug']}"
        if name not in self.notebooks:
            return missing("Kernel")
        sent = self.notebooks[name]
        fields = ("isPrivate", "enableGpu", "enableTpu", "enableInternet", "machineShape", "language", "kernelType")
        sources = ("datasetDataSources", "kernelDataSources", "competitionDataSources", "modelDataSources")
        metadata = {name: sent[name] for name in (*fields, *sources) if name in sent}
        blob = {"source": sent["text"], "language": "python", "kernelType": "notebook", "slug": request["kernelSlug"]}
        return {"metadata": {"ref": name, "title": sent["newTitle"], **metadata}, "blob": blob}

    def on_get_kernel_session_status(self, _):
        return self.run_status

    def on_list_kernel_files(self, request):
        return self._page(self.outputs, request, key="files", size="size")

    def on_list_kernel_session_output(self, _):
        files = [{"url": f"http://localhost/output/{name}", "fileName": name} for name in sorted(self.outputs)]
        return {"files": files, "log": "", "nextPageToken": ""}

    # Models

    def on_get_model(self, request):
        name = f"{request['ownerSlug']}/{request['modelSlug']}"
        if name not in self.models:
            return missing("Model")
        sent = {"title": "Deepfake detector", "isPrivate": True, **self.models[name]}
        return {"id": 1, "ref": name, "title": sent["title"], "isPrivate": sent["isPrivate"]}

    def on_create_model(self, request):
        self.models[f"{request['ownerSlug']}/{request['slug']}"] = request
        return {"id": 1, "url": "https://www.kaggle.com/models/" + request["slug"]}

    def on_create_model_instance(self, request):
        body = request["body"]
        holding = self.variations[variation_name({**request, **body})] = Holding(request)
        return {**self._received(holding, body.get("files", []), "models"), "id": 2}

    def on_get_model_instance(self, request):
        if variation_name(request) not in self.variations:
            return missing("Variation")
        holding = self.variations[variation_name(request)]
        sent = holding.request.get("body", {})
        return {
            "id": 2,
            "versionNumber": len(holding.versions),
            "slug": request["instanceSlug"],
            "framework": request["framework"],
            "licenseName": sent.get("licenseName", "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)"),
            "modelInstanceType": "MODEL_INSTANCE_TYPE_BASE_MODEL",
        }

    def on_create_model_instance_version(self, request):
        holding = self.variations[variation_name(request)]
        return {**self._received(holding, request["body"].get("files", []), "models"), "id": 3}

    def on_list_model_instance_version_files(self, request):
        versions = self.variations[variation_name(request)].versions
        return self._page(versions[request["versionNumber"] - 1], request, key="files", size="size")


class KaggleHandler(Handler):
    """Calls are posted, files are put, and outputs of notebooks are got."""

    def do_POST(self):
        self.reply(self.stub.answer(self.path.rsplit("/", 1)[1], json.loads(self.content() or b"{}")))

    def do_PUT(self):
        token = self.path.split("?")[0].rsplit("/", 1)[1]
        self.reply(self.stub.put(token, self.content(), self.headers.get("Content-Range", "")))

    def do_GET(self):
        content = self.stub.outputs.get(self.path.split("/output/")[-1], b"<html>no such file</html>")
        self.send(200, {"Content-Type": "application/octet-stream"}, content)

    def reply(self, answer):
        if answer == CUT:
            self.close_connection = True
            return
        status, document = answer if isinstance(answer, tuple) else (200, answer)
        self.send(status, {}, json.dumps(document).encode())


def missing(what):
    return 404, {"code": 404, "message": f"{what} not found"}


def dataset_name(request):
    return f"{request['ownerSlug']}/{request.get('slug') or request['datasetSlug']}"


def variation_name(request):
    return "/".join(
        str(request[part]).removeprefix("MODEL_FRAMEWORK_").lower()
        for part in ("ownerSlug", "modelSlug", "framework", "instanceSlug")
    )


def unpacked(uploads):
    """Files as Kaggle shows them: archives of folders become folders again."""
    files = {}
    for upload in uploads:
        name, content = upload["name"], upload["content"]
        stem, _, ending = name.rpartition(".")
        if ending == "zip":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                files |= {f"{stem}/{one}": archive.read(one) for one in archive.namelist() if not one.endswith("/")}
        elif ending == "tar":
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                files |= {f"{stem}/{one.name}": archive.extractfile(one).read() for one in archive if one.isfile()}
        else:
            files[name] = content
    return files


def files_of(folder, *, but=()):
    """Name to content of everything in a folder."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name not in but}
