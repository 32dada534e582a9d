"""Files that clients of the API have sent, and the verdicts on them, until they are forgotten."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from dfutils.app.kept import Kept
from dfutils.app.receiving import Upload
from dfutils.app.refusals import RefusedError
from dfutils.app.service import Answer, Following, Service
from dfutils.app.uploads import Uploads
from dfutils.files import json_text
from dfutils.prediction.detector import verdict_document


@dataclass(eq=False, slots=True)
class Job:
    """One file.

    Attributes:
        id: Its key, which cannot be guessed.
        owner: Who sent it, from `ApiKeys.owner`; empty without keys.
        following: Its place in the queue.
        verdict: At last, the document that ``dfutils predict --json`` prints, or a `RefusedError`.
    """

    id: str
    owner: str
    following: Following[Answer]
    verdict: Future[str] = field(default_factory=Future)


class Jobs:
    """The jobs of one server.

    Args:
        service: Gives the answers.
        uploads: The uploaded files; each is deleted when its verdict is there.
    """

    def __init__(self, service: Service, uploads: Uploads) -> None:
        self._service, self._uploads = service, uploads
        limits = service.limits
        self._unfinished: dict[str, Job] = {}
        self.finished: Kept[Job] = Kept(most=limits.results, seconds=limits.result_seconds)
        self._lock = threading.Lock()
        self._followers = ThreadPoolExecutor(limits.waiting + 1, thread_name_prefix="follow")

    def start(self, upload: Upload, *, owner: str) -> Job:
        """Queue an upload.

        Raises:
            RefusedError: Too many clients are waiting, or the server is stopping; the upload is deleted.
        """
        with ExitStack() as stack:
            path = stack.enter_context(self._uploads.taken(upload.token))
            assert path is not None  # it arrived just now
            job = Job(secrets.token_urlsafe(32), owner, self._service.examine(path, name=upload.name))
            with self._lock:
                self._unfinished[job.id] = job
            self._followers.submit(self._follow, job, stack.pop_all())
        return job

    def find(self, job_id: str, *, owner: str) -> Job:
        """Return a job.

        Raises:
            RefusedError: There is none with this id, or it is somebody else's.
        """
        with self._lock:
            job = self._unfinished.get(job_id) or self.finished.get(job_id)
        if job is None or job.owner != owner:
            raise RefusedError(
                "There is no verdict with this id. It may have been forgotten: send the file again.", status=404
            )
        return job

    def forget(self, job: Job) -> None:
        """Forget a job and its verdict; a file that still waits is not examined."""
        with self._lock:
            self._unfinished.pop(job.id, None)
            self.finished.forget(job.id)
        job.following.leave()

    def close(self) -> None:
        """Take no more jobs."""
        self._followers.shutdown(wait=False)

    def _follow(self, job: Job, upload: ExitStack) -> None:
        """Follow a job to its end, and delete its upload."""
        try:
            with upload:
                for step in job.following:
                    if isinstance(step, Answer):
                        document = verdict_document(self._service.detector, [step.verdict])
            job.verdict.set_result(json_text(document))
        except BaseException as error:  # the client learns it, see `Api`
            job.verdict.set_exception(error)
        with self._lock:
            if self._unfinished.pop(job.id, None):
                self.finished.put(job.id, job)
