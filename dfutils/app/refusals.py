"""The one error with which page and API refuse a request."""

from __future__ import annotations


class RefusedError(Exception):
    """Raised when there is no answer; the message is for the client and contains no path.

    Args:
        text: What is wrong, and what to do.
        status: HTTP status of the response.
        retry_seconds: Seconds after which another try makes sense; None if it makes none.
    """

    def __init__(self, text: str, *, status: int = 503, retry_seconds: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = {} if retry_seconds is None else {"retry-after": str(retry_seconds)}
