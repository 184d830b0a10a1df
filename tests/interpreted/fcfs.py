"""First come, first served, in Python: the rule of policies/fcfs over the packed interface."""

import json

from wit_world import exports

PREFILL, DECODE = 1, 2
# Words of the header, counted from the one that says how many there are.
PLAN_MAX = 13


def columns(snapshot):
    """The declared columns, one list each."""
    at = 1 + snapshot[0]
    while at < len(snapshot):
        length = snapshot[at]
        yield snapshot[at + 1 : at + 1 + length]
        at += 1 + length


class Packed(exports.Packed):
    def describe(self) -> str:
        return json.dumps(
            {
                "name": "fcfs-python",
                "version": "0.1.0",
                "summary": "Jobs with a slot keep it; the rest runs in the order of arrival.",
                "columns": ["job-id", "job-arrival-us", "job-state"],
                "triggers": [],
                "preemptive": False,
            }
        )

    def configure(self, config: str) -> None:
        pass

    def decide(self, snapshot: list[int]) -> list[int]:
        ids, arrivals, states = columns(snapshot)
        rows = [
            (state not in (PREFILL, DECODE), arrival, job)
            for job, arrival, state in zip(ids, arrivals, states)
        ]
        rows.sort()
        return [job for _, _, job in rows[: snapshot[PLAN_MAX]]]
