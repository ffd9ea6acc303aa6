"""Changes of reference pictures, so that the model learns who is shown and not which pixels to paste."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from magref.references import MIN_SIDE_PX
from magref.training.recipe import AugmentRecipe


def augment(picture: Image.Image, recipe: AugmentRecipe, random: np.random.Generator) -> Image.Image:
    """A reference as it might have been photographed at another time; RGBA in, RGBA out, transparent around it.

    What is random is drawn in the same order whatever the recipe turns off, so that one change of it changes one thing.
    """
    mirror, degrees, shrink, crop = random.random(4)
    light, sides = random.uniform(-1, 1, 3), random.random(4)
    picture = picture.convert("RGBA")
    whole = picture.getchannel("A").getextrema()[0] == 255
    if whole and recipe.crop:
        picture = _crop(picture, sides * crop * recipe.crop / 2)
    if mirror < recipe.mirror:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if recipe.light:
        picture = _relight(picture, 1 + light * recipe.light)
    if recipe.rotate_degrees and not whole:  # a turned photograph would show its corners
        angle = (2 * degrees - 1) * recipe.rotate_degrees
        picture = picture.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    if recipe.shrink and not whole:
        picture = _shrink(picture, 1 - shrink * recipe.shrink)
    return picture


def _crop(picture: Image.Image, shares: np.ndarray) -> Image.Image:
    width, height = picture.size
    left, top, right, bottom = (shares * [width, height, width, height]).astype(int)
    box = (left, top, width - right, height - bottom)
    return picture if min(box[2] - left, box[3] - top) < MIN_SIDE_PX else picture.crop(box)


def _relight(picture: Image.Image, factors: np.ndarray) -> Image.Image:
    rgb = picture.convert("RGB")
    for kind, factor in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors.tolist(), strict=True
    ):
        rgb = kind(rgb).enhance(factor)
    rgb.putalpha(picture.getchannel("A"))
    return rgb


def _shrink(picture: Image.Image, scale: float) -> Image.Image:
    """The same pixels on a larger transparent ground: smaller, once the canvas fits it into its cell."""
    width, height = (max(side, round(side / scale)) for side in picture.size)
    ground = Image.new("RGBA", (width, height), (255, 255, 255, 0))
    ground.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return ground
