"""What is minimised: the flow-matching loss of the clean clip's latents, given the references (paper 4.1).

The target is the clip itself over all T latent frames; the references are seen as condition only. All that is random
about an example comes from its own seed, so that the loss does not depend on how examples are spread over processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from magref.conditioning import Conditioning
from magref.flow import TRAIN_TIMESTEPS, add_noise, flow_loss, training_sigmas
from magref.training.encoding import caption_features, pad_texts, stack_conditioning
from magref.training.parallel import Team


@dataclass(frozen=True)
class Example:
    """One encoded example.

    `clean` (1, C, T, h, w) is the target; `text` its caption's features (n, D), or the caption itself where the text
    encoder is trained too; `seed` decides noise and noise level.
    """

    name: str
    clean: torch.Tensor
    conditioning: Conditioning
    text: torch.Tensor | str
    seed: int


@dataclass(frozen=True)
class Objective:
    """The loss of a model: `text_encoder` is None where it is frozen."""

    transformer: Any
    text_encoder: Any | None
    tokenizer: Any
    text_tokens: int
    flow_shift: float
    level_spread: float
    team: Team
    bf16: bool

    def loss(self, examples: Sequence[Example], sigma: float | None = None) -> torch.Tensor:
        """The mean over examples of their mean squared errors; `sigma` fixes the noise level, for validation.

        Examples whose references take different numbers of tokens go through the transformer apart. All processes call
        this together, each with its own examples: where the weights are spread, all must run the same number of passes.
        """
        groups = _alike(examples)
        groups = _cut(groups, self.team.most(len(groups)))
        parts = [self._sum(group, sigma) for group in groups]
        return torch.stack(parts).sum() / len(examples)

    def _sum(self, examples: Sequence[Example], sigma: float | None) -> torch.Tensor:
        clean = torch.cat([example.clean for example in examples]).to(self.team.device)
        drawn = [_draw(example, self.flow_shift, self.level_spread) for example in examples]
        noise = torch.cat([noise for noise, _ in drawn]).to(self.team.device)
        sigmas = torch.cat([level for _, level in drawn]).to(self.team.device)
        if sigma is not None:
            sigmas = torch.full_like(sigmas, sigma)
        conditioning = stack_conditioning([example.conditioning for example in examples])
        conditioning = conditioning.to(self.team.device, torch.float32)
        with torch.autocast(self.team.device.type, torch.bfloat16, enabled=self.bf16):
            predicted = self.velocity(add_noise(clean, noise, sigmas), sigmas, conditioning, [e.text for e in examples])
        return flow_loss(predicted, clean, noise).sum()

    def velocity(
        self, noisy: torch.Tensor, sigmas: torch.Tensor, conditioning: Conditioning, texts: Sequence[torch.Tensor | str]
    ) -> torch.Tensor:
        """(B, C, T, h, w) noisy latents at levels (B,) -> the transformer's velocity, (B, C, T, h, w)."""
        if self.text_encoder is None:
            rows = pad_texts([t.to(self.team.device) for t in texts if isinstance(t, torch.Tensor)], self.text_tokens)
        else:
            captions = [text for text in texts if isinstance(text, str)]
            rows = caption_features(captions, self.tokenizer, self.text_encoder, self.text_tokens)
        velocity = self.transformer(
            hidden_states=conditioning.join(noisy),
            timestep=sigmas * TRAIN_TIMESTEPS,
            encoder_hidden_states=rows.to(self.transformer.dtype),
            encoder_hidden_states_image=conditioning.image_embeds,
            return_dict=False,
        )[0]
        return conditioning.cut(velocity)


def _draw(example: Example, shift: float, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise like the example's latents and a noise level, on the CPU, so that every device gets the same."""
    generator = torch.Generator().manual_seed(example.seed)
    level = training_sigmas(1, shift, generator, spread=spread)
    return torch.randn(example.clean.shape, generator=generator), level


def _alike(examples: Sequence[Example]) -> list[list[Example]]:
    groups: dict[tuple[object, ...], list[Example]] = {}
    for example in examples:
        embeds = example.conditioning.image_embeds
        shape = (example.conditioning.guidance.shape, None if embeds is None else embeds.shape)
        groups.setdefault(shape, []).append(example)
    return list(groups.values())


def _cut(groups: list[list[Example]], count: int) -> list[list[Example]]:
    """The same examples in `count` groups, the largest cut in two for each that is lacking."""
    groups = sorted(groups, key=len)
    while len(groups) < count:
        largest = groups.pop()
        half = len(largest) // 2
        groups = sorted([*groups, largest[:half], largest[half:]], key=len)
    return groups
