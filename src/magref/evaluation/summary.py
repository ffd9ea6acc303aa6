"""Scores as a plain table: means with their intervals, and how many cases are missing and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from magref.evaluation.metrics.interface import Profile
from magref.evaluation.scores import CaseScores, Run, Summary, summarise

GROUPS = ("single_id", "multi_subject")


def tables(run: Run, scores: Sequence[CaseScores]) -> list[Table]:
    """One table over all cases, then one for each half of the benchmark that has cases."""
    found = [_table(f"all {len(scores)} cases", summarise(scores, run.measures), run)]
    for group in GROUPS:
        members = [one for one in scores if one.group == group]
        if members:
            found.append(_table(f"{group}, {len(members)} cases", summarise(members, run.measures), run))
    return found


def heading(run: Run, scores: Sequence[CaseScores]) -> str:
    """What the tables are of; a reconstruction is named as one here, by its cases' source."""
    datasets = sorted({one.dataset for one in scores if one.dataset})
    return f"{run.videos} on {' and '.join(datasets) or run.cases}, {_profile(run.profile)}"


def _profile(profile: Profile) -> str:
    return "profile opens2v (as published)" if profile == "opens2v" else "profile strict"


def _table(title: str, summaries: dict[str, Summary], run: Run) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("measure")
    for name in ("n", "mean", "95% interval"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    table.add_column("missing")
    for name, summary in summaries.items():
        mean = summary.mean
        value = "-" if mean.value is None else f"{mean.value:.4f}"
        bounds = "-" if mean.low is None or mean.high is None else f"{mean.low:.4f} to {mean.high:.4f}"
        total = sum(summary.missing.values())
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary.missing.items())
        missing = f"{total}: {reasons}" if total else ""
        table.add_row(name, str(mean.n), value, bounds, run.measures[name].unit, missing)
    return table
