"""Make the networks that the measures look through: `python -m magref.evaluation.measures.make_instruments FOLDER`.

Both are trained, each resumed where it was interrupted, and put into one file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from magref.evaluation.measures import train_finder, train_identity
from magref.evaluation.measures.instruments import WEIGHTS
from magref.outputs import writing


def pack(identity: nn.Module, finder: nn.Module, path: Path, about: dict[str, str]) -> None:
    """Both networks' weights in half precision, with what they were made with."""
    state = {
        f"{prefix}.{name}": value.half().contiguous()
        for prefix, net in (("identity", identity), ("finder", finder))
        for name, value in net.state_dict().items()
        if value.is_floating_point()
    }
    with writing(path, overwrite=True) as temporary:
        save_file(state, temporary, metadata=about)


def main() -> None:
    """Train what is not trained yet, and pack."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.measures.make_instruments", description=__doc__)
    parser.add_argument("folder", type=Path, help="checkpoints and the weights")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipes = train_identity.IdentityRecipe(), train_finder.FinderRecipe()
    identity = train_identity.train(recipes[0], options.folder / "identity")
    finder = train_finder.train(recipes[1], options.folder / "finder")
    about = {"identity": repr(recipes[0]), "finder": repr(recipes[1])}
    pack(identity, finder, options.folder / WEIGHTS, about)
    print(options.folder / WEIGHTS)


if __name__ == "__main__":
    main()
