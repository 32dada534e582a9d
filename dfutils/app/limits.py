"""Limits on what one client of page or API, and all of them together, may cost the server."""

from __future__ import annotations

from pydantic import Field

from dfutils.settings import MediaLimits, Settings


class ServerLimits(Settings):
    """Limits of page and API, enforced by the server whatever the client says."""

    upload_megabytes: float = Field(100.0, gt=0)
    """Size of the largest upload; counted while it arrives, whatever its header claims."""
    upload_seconds: float = Field(120.0, gt=0)
    """An upload that takes longer is aborted."""
    uploads: int = Field(40, ge=1)
    """Uploads on the disk at a time; further ones are refused until one is answered."""
    keep_seconds: float = Field(900.0, gt=0)
    """An upload for which no answer is requested is deleted after this time."""
    max_seconds: float = Field(300.0, gt=0)
    """Longer videos are refused."""
    max_pixels: int = Field(9_000_000, ge=1)
    """Larger videos are refused, and larger images reduced; 4K has 8.3 million pixels."""
    job_seconds: float = Field(90.0, gt=0)
    """Time that one answer may take, without the wait in the queue."""
    waiting: int = Field(20, ge=0)
    """Clients who may wait while one is served; the next is asked to come back later."""
    answers: int = Field(20, ge=1)
    """Answers of the page whose faces stay in memory, for heat maps on request."""
    people: int = Field(8, ge=1)
    """People whose faces are shown on the page; all are scored."""
    results: int = Field(500, ge=1)
    """Verdicts of the API that are kept; the oldest are forgotten first."""
    result_seconds: float = Field(3600.0, gt=0)
    """Verdicts of the API, and answers of the page, are forgotten after this time."""
    per_minute: int = Field(60, ge=1)
    """Files that one API key, or one address if there are no keys, may send per minute."""

    @property
    def upload_bytes(self) -> int:
        """Largest upload in bytes."""
        return round(self.upload_megabytes * 1e6)

    @property
    def media(self) -> MediaLimits:
        """Limits of the child process that decodes."""
        seconds = min(60.0, self.job_seconds)
        return MediaLimits(
            memory_megabytes=1536, cpu_seconds=max(1, round(2 * seconds)), wall_seconds=seconds, frames=40_000
        )
