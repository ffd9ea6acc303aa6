"""A reconstruction of the paper's 120 cases from the user's own copy of OpenS2V-Eval.

The authors never published their list. What speaks for these 120: Table 1's single-ID half agrees with OpenS2V's
leaderboard for its Human-Domain set, which has 60 cases; and the four open-domain categories that show people have 60
cases in just the kinds that the paper names. What speaks against: the paper says that part of its cases come from
ConsisID's and A2-Bench's sets, and the multi-subject half agrees with no published table that was looked at. So every
output says "reconstruction". docs/benchmark.md has the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from magref.batch import Case, Source
from magref.errors import InputError
from magref.evaluation.cases import KINDS, wrong_counts
from magref.evaluation.collecting import Origin, Progress, collect
from magref.evaluation.importers import opens2v
from magref.outputs import writing

HUMAN_FILE, OPEN_FILE = "Human-Domain_Eval.json", "Open-Domain_Eval.json"
"""As OpenS2V-Eval names them; pictures lie in `Images/` beside them."""
MULTI = ("humanobj", "faceobj", "multiface", "multihuman")
"""How ids of the open-domain cases begin that show people with others, with objects, or before a place."""

DATASET = "reconstruction of MAGREF's 120 cases from OpenS2V-Eval"
"""What every case, and so every output, names as its source."""

_README = """# A reconstruction, not the authors' list

These 120 cases are chosen from OpenS2V-Eval: the 60 of its Human-Domain set, and the open-domain cases humanobj,
faceobj, multiface and multihuman. The authors of MAGREF never published their list; which cases Table 1 was measured
on is not known. Say "reconstruction" where you report numbers measured on them.

The pictures belong to their owners; OpenS2V-Eval's own page states its terms.
"""


def build_reconstruction(origin: Origin, folder: Path, *, progress: Progress | None = None) -> list[Case]:
    """Choose the 120 cases of a copy of OpenS2V-Eval, bring their references together and write the case file.

    Args:
        origin: the copy: a folder, or the address of one.
        folder: for `cases.jsonl`, `references/` and a README; one of an interrupted attempt goes on.

    Raises:
        InputError, OutputError, ResourceError: as `collect`, or the copy is of another version.
    """
    human, open_domain = (opens2v.opens2v_cases(origin.read(name), name) for name in (HUMAN_FILE, OPEN_FILE))
    cases = reconstruct(human, open_domain)
    readme = folder / "README.md"
    if not readme.exists():
        with writing(readme) as temporary:
            temporary.write_text(_README, encoding="utf-8")
    return collect(cases, origin, folder, progress=progress)


def reconstruct(human: Sequence[Case], open_domain: Sequence[Case]) -> list[Case]:
    """The 120, single-ID cases first, in OpenS2V's order.

    Args:
        human: the cases of the Human-Domain file.
        open_domain: those of the Open-Domain file, whose own single-person cases are left out.

    Raises:
        InputError: they are not the 60 and 60 that are known.
    """
    single = [case for case in human if case.id.partition("_")[0] in opens2v.SINGLE]
    multi = [case for case in open_domain if case.id.partition("_")[0] in MULTI]
    chosen = [
        case.model_copy(update={"source": Source(dataset=DATASET, case_id=case.id)})
        for case in sorted(single, key=lambda case: list(KINDS).index(case.category or "face")) + multi
    ]
    for case in chosen:
        if case.category is None:
            raise InputError(f"{case.id} fits no category of the paper; this is another version of OpenS2V-Eval")
    wrong = wrong_counts(chosen)
    if wrong:
        raise InputError(f"{wrong[0]}: this is another version of OpenS2V-Eval than the one the reconstruction knows")
    return chosen
