"""The text that Prometheus reads: every metric that is documented, well formed, whatever names stand in it."""

from math import inf
from pathlib import Path

from rowgate.errors import MalformedBody
from rowgate.gateway.exposition import METRICS, exposition
from rowgate.gateway.meter import BOUNDS, Meter


def text_of(meter: Meter, *, database: str = "app") -> str:
    place = {"endpoint": "main", "database": database}
    return exposition(
        meter,
        sessions=3,
        pools=[({**place, "role": "authenticated"}, (5, 2, 1))],
        registries=[(place, True)],
        dropped=4,
    )


def test_every_metric_is_there_with_its_type() -> None:
    text = text_of(Meter())
    for name, (kind, meaning) in METRICS.items():
        assert f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n" in text
    assert text.count("# TYPE") == len(METRICS)
    assert text.endswith("\n")


def test_the_documented_list_is_the_list() -> None:
    documents = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
    for name, (kind, meaning) in METRICS.items():
        assert f"| `{name}` | {kind} | {meaning} |" in documents


def test_values() -> None:
    meter = Meter()
    for seconds in (0.0005, 0.001, 0.0011, 4.0, 1000.0):
        meter.answered(200, seconds)
    meter.read(0.2, MalformedBody("x"))
    meter.read(inf, None)  # not measured
    lines = text_of(meter).splitlines()
    assert 'rowgate_http_requests_total{status="200"} 5' in lines
    assert 'rowgate_http_request_seconds_bucket{le="0.001"} 2' in lines
    assert 'rowgate_http_request_seconds_bucket{le="0.0025"} 3' in lines
    assert 'rowgate_http_request_seconds_bucket{le="30"} 4' in lines
    assert 'rowgate_http_request_seconds_bucket{le="+Inf"} 5' in lines
    assert "rowgate_http_request_seconds_count 5" in lines
    assert "rowgate_http_request_seconds_sum 1004.0026" in lines
    assert "rowgate_session_exchange_seconds_count 1" in lines
    assert 'rowgate_errors_total{front="session",code="malformed_body"} 1' in lines
    assert "rowgate_sessions 3" in lines
    assert 'rowgate_pool_connections{endpoint="main",database="app",role="authenticated",state="busy"} 3' in lines
    assert 'rowgate_pool_waiting{endpoint="main",database="app",role="authenticated"} 1' in lines
    assert 'rowgate_registry_connected{endpoint="main",database="app"} 1' in lines
    assert "rowgate_audit_dropped_total 4" in lines


def test_names_cannot_break_out_of_their_label() -> None:
    text = text_of(Meter(), database='a"} 1\nrowgate_sessions 9\\')
    assert "\nrowgate_sessions 9" not in text
    assert 'database="a\\"} 1\\nrowgate_sessions 9\\\\"' in text


def test_buckets_are_cumulative() -> None:
    meter = Meter()
    for bound in BOUNDS:
        meter.http.observe(bound)
    counts = [
        int(line.rpartition(" ")[2])
        for line in text_of(meter).splitlines()
        if line.startswith("rowgate_http_request_seconds_bucket")
    ]
    assert counts == [*range(1, len(BOUNDS) + 1), len(BOUNDS)]
