"""Figures of the running server, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import prometheus_client as prometheus

import dfutils

if TYPE_CHECKING:
    from dfutils.app.service import Answer

METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
"""Bounds of the histogram of times."""


class Metrics:
    """What happened since the start. No figure names a client, a key or a file."""

    def __init__(self) -> None:
        prometheus.disable_created_metrics()  # the time of each figure's first value, which nobody asked for
        registry = self._registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        prometheus.Info("dfutils", "The package.", registry=registry).info({"version": dfutils.__version__})
        self._requests = prometheus.Counter(
            "dfutils_http_requests", "Requests to the API.", ["method", "route", "status"], registry=registry
        )
        self._verdicts = prometheus.Counter(
            "dfutils_verdicts", "Verdicts of API and page.", ["label", "reason"], registry=registry
        )
        self._seconds = prometheus.Histogram(
            "dfutils_verdict_seconds",
            "Time of a verdict without the wait in the queue.",
            buckets=SECONDS,
            registry=registry,
        )

    def show(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Add a figure that is asked for whenever the text is."""
        prometheus.Gauge(name, about, registry=self._registry).set_function(value)

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count a request to the API."""
        self._requests.labels(method if method in METHODS else "other", route, str(status)).inc()

    def count_answer(self, answer: Answer) -> None:
        """Count a verdict."""
        self._verdicts.labels(str(answer.verdict.label), str(answer.verdict.reason)).inc()
        self._seconds.observe(answer.seconds)

    def text(self) -> bytes:
        """Return all figures."""
        return prometheus.generate_latest(self._registry)
