"""Receive one uploaded file of a form, within the limits, whichever way it comes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from dfutils.app.limits import ServerLimits
from dfutils.app.refusals import RefusedError
from dfutils.app.uploads import Uploads, UploadsFullError

FORM_BYTES = 10_000
"""Bytes that an upload's form may have around the file."""
LONGEST_NAME = 200
"""Characters of a file's name that are kept, for its verdict to name it."""
RETRY_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Upload:
    """One stored upload: its token, and the client's name for the file, without folders."""

    token: str
    name: str


class Intake:
    """The way of every upload into the folder of uploads.

    Args:
        uploads: Folder of the uploads.
        limits: Limits of page and API.
    """

    def __init__(self, uploads: Uploads, limits: ServerLimits) -> None:
        self.uploads, self._limits = uploads, limits
        self._arriving = 0

    @property
    def body_limit(self) -> int:
        """Largest body of an upload, in bytes."""
        return self._limits.upload_bytes + FORM_BYTES

    @property
    def too_large(self) -> RefusedError:
        """The refusal of an upload that is too large."""
        return RefusedError(
            f"Larger than {self._limits.upload_megabytes:g} MB. Cut the clip or scale it down.", status=413
        )

    async def receive(self, request: Request, *, field: str) -> Upload:
        """Store the only file of a form, under its field's name.

        Raises:
            RefusedError: The request is no such form, the file is too large or too slow, or too many are stored.
        """
        busy = RefusedError(
            "Busy: too many uploads are waiting for their answer. Please try again soon.", retry_seconds=RETRY_SECONDS
        )
        if self._arriving >= self._limits.uploads:
            raise busy
        self._arriving += 1
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                form = await MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=4).parse()
                try:
                    file = form.get(field)
                    if not isinstance(file, UploadFile) or len(form.multi_items()) != 1:
                        sent = ", ".join(sorted({repr(name[:40]) for name, _ in form.multi_items()})) or "nothing"
                        raise RefusedError(
                            f"The form must have one file, named {field!r}, and nothing else. Received: {sent}.",
                            status=422,
                        )
                    if (file.size or 0) > self._limits.upload_bytes:
                        raise self.too_large
                    name = re.split(r"[\\/]", file.filename or "")[-1][:LONGEST_NAME]
                    name = name.encode(errors="replace").decode()  # the form's charset may allow half characters
                    token = await asyncio.to_thread(self.uploads.store, file.file, name)
                    return Upload(token, name or "upload")
                finally:
                    await form.close()
        except TimeoutError:
            raise RefusedError("The upload took too long.", status=408) from None
        except UploadsFullError:
            raise busy from None
        except (MultiPartException, KeyError, ValueError):
            raise RefusedError("This is not an upload of a single file.", status=400) from None
        finally:
            self._arriving -= 1
