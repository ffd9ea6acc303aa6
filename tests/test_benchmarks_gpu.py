"""The benchmarks for a GPU run: here with tiny shapes on the CPU, where their figures mean nothing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks" / "gpu"
sys.path.insert(0, str(FOLDER))

import measuring  # noqa: E402
from all import NAMES, run_all  # noqa: E402

ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the benchmarks themselves run")


@ON_CPU
@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_runs_and_compares(name, capsys):
    if name == "fused_kernels" and importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    bench = measuring.Bench(name, tiny=True)
    importlib.import_module(name).work(bench)
    measuring.print_table([bench.record()])
    assert bench.rows
    for row in bench.rows:
        assert "failed" not in row.notes
        assert row.ours_s is None or row.ours_s > 0
        assert (row.difference is None) == (row.peer_s is None)
    assert any(row.difference is not None for row in bench.rows) or name == "whole_pipeline"


@ON_CPU
@pytest.mark.slow
def test_all_run_each_in_a_process_of_its_own(tmp_path):
    names = ["one_block", "fp8_linears"]
    records = run_all(names, tiny=True, out=tmp_path, limit_s=600)
    assert [record["benchmark"] for record in records] == names
    assert not list(tmp_path.iterdir())  # nothing is stored of tiny shapes


def bench() -> measuring.Bench:
    return measuring.Bench("test", tiny=True)


def test_pairs_alternate():
    order = []
    ours, peer = (lambda: order.append("ours")), (lambda: order.append("peer"))
    times = measuring.alternate(ours, peer, 3, 2, torch.device("cpu"))
    assert order == ["ours", "ours", "peer", "peer", "peer", "peer", "ours", "ours", "ours", "ours", "peer", "peer"]
    assert [len(side) for side in times] == [3, 3]


def test_different_results_are_not_timed():
    one = bench()
    with pytest.raises(RuntimeError, match="results differ by 1"):
        one.compare("x", ("ours", lambda: torch.full((4,), 2.0)), ("peer", lambda: torch.ones(4)))
    assert one.rows[0].ours_s is None


def test_on_a_gpu_what_fails_is_noted_and_the_rest_goes_on(capsys):
    one = bench()
    one.tiny = False
    one.compare("x", ("ours", lambda: torch.full((4,), 2.0)), ("peer", lambda: torch.ones(4)))
    one.alone("y", ("ours", lambda: None), runs=2)
    assert one.rows[0].notes["failed"] == "RuntimeError: results differ by 1"
    assert one.rows[1].ours_s > 0
    assert "results differ" in capsys.readouterr().out


def test_aims_are_judged():
    one = bench()
    one.tiny = False
    fast = one.compare(
        "x", ("ours", lambda: torch.ones(1)), ("peer", lambda: torch.ones(10**6)[:1]), most_ratio=1e9, most_s=0
    )
    assert fast.aim == "ratio <= 1000000000.0; <= 0 s"
    assert fast.met is False
    assert fast.difference == 0


def test_records_are_plain_json_with_what_they_depend_on(tmp_path):
    one = bench()
    one.compare("x", ("ours", lambda: torch.ones(3)), ("peer", lambda: torch.ones(3)))
    record = one.record()
    assert record["versions"]["torch"] == torch.__version__
    assert {"benchmark", "hardware", "date", "rows"} <= record.keys()
    measuring.write_record(record, "x", tmp_path / "new", "nvidia-h200")
    assert (tmp_path / "new" / "x-nvidia-h200.json").read_text().startswith("{")


def test_all_fits_into_eight_minutes():
    from all import LIMIT_S

    assert LIMIT_S <= 8 * 60
