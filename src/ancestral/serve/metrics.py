"""Metrics for Prometheus: what a server counts, and how it names it."""

import os
from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BETWEEN = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of a server, in a registry of its own."""

    def __init__(self) -> None:
        """Create metrics that are all 0."""
        self._registry = registry = CollectorRegistry()
        if os.path.isdir("/proc/self"):
            ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"ancestral_{name}", about, labels, registry=registry)

        def gauge(name: str, about: str) -> Gauge:
            return Gauge(f"ancestral_{name}", about, ["bundle"], registry=registry)

        def histogram(name: str, about: str, buckets: Iterable[float], label: str) -> Histogram:
            named = f"ancestral_{name}"
            return Histogram(named, about, [label], buckets=list(buckets), registry=registry)

        self.requests = counter("requests", "HTTP requests.", "route", "method", "status")
        self.seconds = histogram("request_seconds", "Seconds of HTTP requests.", _FIRST, "route")
        self.values = counter("values", "Values drawn (tokens of a text).", "bundle")
        self.prompts = counter("prompt_values", "Values of prompts.", "bundle")
        self.events = counter("events", "Events that calls scored or drew.", "bundle", "method")
        self.failures = counter("engine_failures", "Times that an engine failed.", "bundle")
        self.queue = gauge("queue", "Requests that wait for a slot.")
        self.busy = gauge("slots_busy", "Slots that draw.")
        self.slots = gauge("slots", "Slots.")
        self.ready = gauge("ready", "1 if the engine is open and warm.")
        self.first = histogram(
            "time_to_first_value_seconds",
            "Seconds from arrival to the first value.",
            _FIRST,
            "bundle",
        )
        self.between = histogram(
            "time_between_values_seconds", "Seconds of a value after the first.", _BETWEEN, "bundle"
        )
        self.batch = histogram("batch_rows", "Rows of a launch.", _ROWS, "bundle")
        self.bundles = Info("ancestral_bundle", "Bundles.", ["bundle"], registry=registry)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def of(self, bundle: str) -> "BundleMetrics":
        """Return the metrics of a bundle."""
        return BundleMetrics(self, bundle)


class BundleMetrics:
    """The metrics of one bundle. Thread-safe."""

    def __init__(self, metrics: Metrics, bundle: str) -> None:
        self._metrics, self._bundle = metrics, bundle
        self._values = metrics.values.labels(bundle)
        self._first, self._between = metrics.first.labels(bundle), metrics.between.labels(bundle)
        self._batch = metrics.batch.labels(bundle)

    def slots(self, count: int) -> None:
        """Set the number of slots."""
        self._metrics.slots.labels(self._bundle).set(count)

    def round(self, rows: int, values: int) -> None:
        """Count a launch."""
        self._batch.observe(rows)
        self._values.inc(values)

    def drew(self, seconds: float, values: int, *, first: bool) -> None:
        """Count the time that values of a request took since its last ones, or its arrival."""
        if first:
            self._first.observe(seconds)
        else:
            self._between.observe(seconds / values)

    def prompt(self, values: int) -> None:
        """Count the values of prompts."""
        self._metrics.prompts.labels(self._bundle).inc(values)

    def events(self, method: str, count: int) -> None:
        """Count events that a call scored or drew."""
        self._metrics.events.labels(self._bundle, method).inc(count)

    def failed(self) -> None:
        """Count a failure of the engine."""
        self._metrics.failures.labels(self._bundle).inc()

    def watch(
        self, queue: Callable[[], float], busy: Callable[[], float], ready: Callable[[], float]
    ) -> None:
        """Read these numbers whenever the metrics are asked for."""
        self._metrics.queue.labels(self._bundle).set_function(queue)
        self._metrics.busy.labels(self._bundle).set_function(busy)
        self._metrics.ready.labels(self._bundle).set_function(ready)

    def describe(self, sha256: str, kind: str, backend: str) -> None:
        """Name the bundle by the hash of its manifest."""
        fields = {"sha256": sha256, "kind": kind, "backend": backend}
        self._metrics.bundles.labels(self._bundle).info(fields)
