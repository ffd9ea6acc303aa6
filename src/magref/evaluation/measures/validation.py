"""How well the identity network tells held-out identities apart, by the kind of change between two pictures.

`python -m magref.evaluation.measures.validation` prints the table of the networks' card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from magref.evaluation.measures.crops import TILE_PX, Stock, make_stock, random_crops
from magref.evaluation.measures.degrade import blurred, coarse, quantised_blocks
from magref.evaluation.measures.embedding import CROP_PX, MARGIN, IdentityNet, crops, embed
from magref.evaluation.measures.instruments import load_instruments, shipped_instruments
from magref.evaluation.statistics import area_under_curve
from magref.synthetic.identities import draw_subjects, kind_of
from magref.synthetic.pixels import visible_boxes
from magref.synthetic.splits import nth_identity
from magref.synthetic.traits import Traits
from magref.synthetic.views import View, any_view, lit, plain_view

IDENTITIES = 600
_FIRST = 3_000_000
_RESAMPLES = 500
_HUNDRED = 100


@dataclass(frozen=True)
class Verification:
    """Two pictures of each of N held-out identities.

    `auc`: how often two pictures of one identity are more alike than two of different ones; `auc_same_kind`: the same
    where the different ones are of one kind, two dogs say; each with an interval of 95%, drawn over identities.
    `first_of_100`: how often the other picture of an identity is the nearest among 100 of as many identities.
    """

    identities: int
    auc: tuple[float, float, float]
    auc_same_kind: tuple[float, float, float]
    first_of_100: tuple[float, float, float]


def verification(first: torch.Tensor, second: torch.Tensor, kinds: list[str], *, seed: int = 0) -> Verification:
    """From two unit vectors (N, D) each of the same N identities."""
    cosines = (first @ second.T).numpy().astype(np.float64)
    sort = np.unique(kinds, return_inverse=True)[1]
    apart = ~np.eye(len(kinds), dtype=bool)
    alike = apart & (sort[:, None] == sort[None])
    rng = np.random.default_rng(seed)

    def auc(rows: npt.NDArray[np.int64], others: npt.NDArray[np.bool_]) -> float:
        return area_under_curve(cosines[rows, rows].tolist(), cosines[rows][others[rows]].tolist())

    def interval(value: Callable[[npt.NDArray[np.int64]], float], count: int, resamples: int) -> tuple[float, ...]:
        everyone = np.arange(count)
        drawn = [value(rng.integers(count, size=count)) for _ in range(resamples)]
        return value(everyone), *np.quantile(drawn, [0.025, 0.975]).tolist()

    count = len(kinds)
    nearest = np.zeros(count)
    for row in range(count):
        rivals = rng.permutation(np.flatnonzero(apart[row]))[: _HUNDRED - 1]
        nearest[row] = cosines[row, rivals].max() < cosines[row, row]
    return Verification(
        count,
        interval(lambda rows: auc(rows, apart), count, 60),  # type: ignore[arg-type]
        interval(lambda rows: auc(rows, alike), count, _RESAMPLES),  # type: ignore[arg-type]
        interval(lambda rows: float(nearest[rows].mean()), count, _RESAMPLES),  # type: ignore[arg-type]
    )


def validate(net: IdentityNet, *, identities: int = IDENTITIES, seed: int = 0) -> dict[str, Verification]:
    """Verification under each kind of change alone, and under all of them together as in clips."""
    numbers = [nth_identity("held-out", _FIRST + n) for n in range(identities)]
    kinds = [kind_of(number).name for number in numbers]
    traits = Traits(np.array(numbers), f"validation {seed}")
    plain = plain_view(identities)
    posed = replace(any_view(traits), **_light_of(plain), zoom=plain.zoom)
    base = _crops(numbers, plain)
    changed = {
        "nothing": base,
        "pose and mirror": _crops(numbers, posed),
        "light": _crops(numbers, lit(plain, traits)),
        "scale: 20 pixels high": coarse(base, 20 / (CROP_PX / MARGIN)),
        "scale: 14 pixels high": coarse(base, 14 / (CROP_PX / MARGIN)),
        "blur": blurred(base, 6),
        "blocks": quantised_blocks(base, 0.04),
    }
    own = embed(net, base)
    result = {name: verification(own, embed(net, pictures), kinds) for name, pictures in changed.items()}
    people = [n for n, number in enumerate(numbers) if kind_of(number).family == "person"]
    close = replace(plain, zoom=plain.zoom * 1.75, focus_y=np.full(identities, -0.42, np.float32))
    portraits = embed(net, _crops([numbers[n] for n in people], close[np.array(people)]))
    result["portrait and whole (people)"] = verification(own[people], portraits, [kinds[n] for n in people])
    stock = make_stock(numbers, 2, places=200, seed=seed + 77)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(identities)
    pair = [embed(net, random_crops(stock, rows, torch.full_like(rows, view), generator)) for view in (0, 1)]
    result["all, in clutter"] = verification(pair[0], pair[1], kinds)
    references = embed(net, _stock_crops(stock, 0))
    result["reference to all, in clutter"] = verification(references, pair[1], kinds)
    return result


def _light_of(view: View) -> dict[str, np.typing.NDArray[np.floating]]:
    return {name: getattr(view, name) for name in ("light", "tint", "light_x", "light_y", "shading")}


def _crops(identities: list[int], view: View) -> torch.Tensor:
    """(N, 3, S, S): the subjects on grey, as large as a crop has them."""
    return _on_grey(draw_subjects(identities, view, TILE_PX))


def _stock_crops(stock: Stock, view: int) -> torch.Tensor:
    return _on_grey(stock.tiles[:, view].float() / 255)


def _on_grey(tiles: torch.Tensor) -> torch.Tensor:

    pictures = tiles[:, :3] * tiles[:, 3:] + 0.6 * (1 - tiles[:, 3:])
    return crops(pictures, visible_boxes(tiles[:, 3]).float(), torch.arange(len(tiles)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.measures.validation", description=__doc__)
    parser.add_argument("--weights", type=Path, help="other weights than those that come with the package")
    parser.add_argument("--identities", type=int, default=IDENTITIES)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    tools = load_instruments(options.weights) if options.weights else shipped_instruments()
    figures = validate(tools.identity, identities=options.identities)
    print("| change | identities | AUC | AUC, same kind | first of 100 |\n|---|---|---|---|---|")
    for name, found in figures.items():
        cells = ["{:.4f} [{:.4f}, {:.4f}]".format(*v) for v in (found.auc, found.auc_same_kind, found.first_of_100)]
        print(f"| {name} | {found.identities} | {' | '.join(cells)} |")
    if options.json:
        options.json.write_text(json.dumps({name: vars(found) for name, found in figures.items()}, indent=1))


if __name__ == "__main__":
    main()
