"""Whether a load tool's report says that all requests went well.

    python complete.py aiperf FOLDER REQUESTS
    python complete.py guidellm FILE REQUESTS
"""

import json
import pathlib
import sys


def aiperf(folder):
    """Requests that went well and ill, and the mean time to the first token in ms, if any."""
    report = json.loads((pathlib.Path(folder) / "profile_export_aiperf.json").read_text())
    failed = report.get("error_request_count") or {"avg": 0}
    first = report.get("time_to_first_token") or {}
    return report["request_count"]["avg"], failed["avg"], first.get("avg")


def guidellm(file):
    """The same of the other tool."""
    benchmark = json.loads(pathlib.Path(file).read_text())["benchmarks"][0]
    metrics = benchmark["metrics"]
    totals = metrics["request_totals"]
    first = metrics["time_to_first_token_ms"]["successful"]["mean"]
    return totals["successful"], totals["errored"] + totals["incomplete"], first or None


tool, report, wanted = sys.argv[1:]
well, ill, first_ms = {"aiperf": aiperf, "guidellm": guidellm}[tool](report)
if (well, ill) != (int(wanted), 0):
    sys.exit(f"{tool}: {well:.0f} of {wanted} requests went well, {ill:.0f} did not")
streamed = f"streamed, first token after {first_ms:.1f} ms" if first_ms else "not streamed"
print(f"{tool}: {well:.0f} requests went well, {streamed}")
