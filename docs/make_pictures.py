"""Draw the pictures of these pages: `python docs/make_pictures.py`.

The references are those of examples/, rendered by magref.synthetic; canvases, masks and latents come from the same
functions that generation uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLWan
from PIL import Image, ImageDraw, ImageFont

from magref.canvas import Canvas, MaskKind, compose_canvas, grid_cells
from magref.conditioning import build_conditioning, canvas_pixels, condition_video
from magref.geometry import Strides, VideoShape
from magref.models import EMBEDDED_FOLDER
from magref.references import Reference
from magref.synthetic.world import WorldConfig, render_scenes

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
IMAGES = HERE / "images"

INK, FAINT, LINE, OFF, MARK = "#1f2328", "#6e7781", "#d0d7de", "#262c36", "#e8590c"
MARGIN, GAP, TEXT = 20, 14, 15
SIZE = (480, 832)
STRIDE = Strides().spatial


def main() -> None:
    """Write every picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=EMBEDDED_FOLDER, help="the model whose VAE encodes the canvas")
    model = parser.parse_args().model
    IMAGES.mkdir(exist_ok=True)
    bear, rabbit, star, robot = (cut_out(f"{name}.png") for name in ("bear", "rabbit", "star", "robot"))
    meadow = Reference(EXAMPLES / "meadow.png", role="background")
    five = [bear, rabbit, star, robot, meadow]
    save(draw_canvases([[bear], [bear, star, meadow], five]), "canvas.png")
    save(draw_letterbox([rabbit, star, meadow]), "letterbox.png")
    save(draw_masks([bear, meadow]), "alpha.png")
    save(draw_orders(five), "order.png")
    save(draw_world(), "world.png", colours=256)
    vae = AutoencoderKLWan.from_pretrained(model / "vae").float()
    save(draw_input([bear, meadow], vae), "input.png", colours=256)


def cut_out(name: str) -> Reference:
    """A picture of examples/, cropped to what is visible."""
    path = EXAMPLES / name
    with Image.open(path) as image:
        return Reference(path, crop=image.getchannel("A").getbbox())


def draw_canvases(cases: Sequence[Sequence[Reference]]) -> Image.Image:
    """One row each: canvas, mask, latent mask."""
    rows = []
    for references in cases:
        canvas = compose(references)
        count = f"{len(references)} reference" + "s" * (len(references) > 1)
        mask, pooled = canvas.mask, canvas.latent_mask(STRIDE)
        height, width = pooled.shape
        rows.append(
            beside(
                noted(scaled(canvas.image, 300), f"canvas of {count}"),
                noted(scaled(black_white(mask), 300), f"mask, {SIZE[1]} x {SIZE[0]}"),
                noted(scaled(black_white(pooled), 300, exact=True), f"latent mask, {width} x {height}"),
            )
        )
    return page(rows)


def draw_letterbox(references: Sequence[Reference]) -> Image.Image:
    """The grid's cells, and where each picture lies in its cell."""
    canvas = compose(references)
    drawn = canvas.image.copy()
    draw = ImageDraw.Draw(drawn)
    for cell in grid_cells(len(references), *SIZE):
        dashed(draw, cell, FAINT)
    for left, top, right, bottom in canvas.rectangles:
        draw.rectangle((left, top, right - 1, bottom - 1), outline=MARK, width=3)
    return page([noted(scaled(drawn, 620), "dashed: the three cells; orange: the resized pictures; white: padding")])


def draw_masks(references: Sequence[Reference]) -> Image.Image:
    """The two kinds of mask over one canvas."""
    parts = [noted(scaled(compose(references).image, 300), "canvas")]
    for kind in get_args(MaskKind):
        mask = compose_canvas(references, height=SIZE[0], width=SIZE[1], mask=kind).mask
        parts.append(noted(scaled(black_white(mask), 300), f'mask="{kind}"'))
    return page([beside(*parts)])


def draw_orders(references: Sequence[Reference]) -> Image.Image:
    """The order given, and two shuffles."""
    height, width = SIZE
    shuffles = [
        (compose_canvas(references, height=height, width=width, order="shuffled", seed=seed), seed) for seed in (1, 2)
    ]
    parts = [noted(scaled(compose(references).image, 300), 'order="given"')]
    parts += [noted(scaled(canvas.image, 300), f'order="shuffled", seed={seed}') for canvas, seed in shuffles]
    return page([beside(*parts)])


@torch.no_grad()
def draw_input(references: Sequence[Reference], vae: AutoencoderKLWan) -> Image.Image:
    """Pixels that the VAE encodes, and below them all channels of each latent frame."""
    shape = VideoShape(frames=17, height=128, width=192)
    strides = Strides()
    canvas = compose_canvas(references, height=shape.height, width=shape.width)
    guidance = build_conditioning([canvas], shape.frames, vae=vae, strides=strides).guidance[0]  # (M + C, T, h, w)
    mask, latents = guidance[: strides.temporal], guidance[strides.temporal :]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    video = condition_video(canvas_pixels(canvas)[None], shape)[0]  # (3, F, H, W)

    count = len(latents)
    names = (
        "",
        "pixels that the\nVAE encodes",
        f"noisy latents,\n{count} channels",
        f"mask,\n{len(mask)} channels",
        f"canvas latents,\n{count} channels",
    )
    rows: list[list[Image.Image]] = [[label(name, INK)] for name in names]
    for t in range(latents.shape[1]):
        first, last = max(0, (t - 1) * strides.temporal + 1), t * strides.temporal
        picture = Image.fromarray(((video[:, last] / 2 + 0.5) * 255).byte().permute(1, 2, 0).numpy())
        parts = (
            label(f"latent frame {t}", INK),
            noted(
                scaled(picture, picture.width), "frame 0: the canvas" if t == 0 else f"frames {first} to {last}: grey"
            ),
            montage([diverging(channel) for channel in noise[:, t]]),
            montage([black_white(channel.bool().numpy()) for channel in mask[:, t]]),
            montage([diverging(channel) for channel in latents[:, t]]),
        )
        for row, part in zip(rows, parts, strict=True):
            row.append(part)
    widths = [max(row[column].width for row in rows) for column in range(len(rows[0]))]
    return page([beside(*(widened(part, width) for part, width in zip(row, widths, strict=True))) for row in rows])


def draw_world() -> Image.Image:
    """Samples of the synthetic world: references, then frames, and the caption below."""
    indices, frames, height, width = (1, 14, 57, 60, 66), 17, 128, 192
    scenes = render_scenes(indices, frames=frames, height=height, width=width, config=WorldConfig(reference_px=height))
    rows = []
    for row, truth in enumerate(scenes.truths):
        parts = []
        for slot in range(2):
            rgba = Image.fromarray(scenes.references[row, slot, 1].permute(1, 2, 0).numpy())
            reference = Image.new("RGB", rgba.size, "white")
            reference.paste(rgba, mask=rgba)
            parts.append(scaled(reference, reference.width))
        shown = scenes.frames[row, :: frames // 4].permute(0, 2, 3, 1).numpy()
        parts.extend(Image.fromarray(frame) for frame in shown[:4])
        rows.append(noted(beside(*parts, gap=4), truth.caption))
    return page(rows)


def compose(references: Sequence[Reference]) -> Canvas:
    """A canvas of the published model's size."""
    return compose_canvas(references, height=SIZE[0], width=SIZE[1])


def black_white(mask: npt.NDArray[np.bool_]) -> Image.Image:
    """White where true."""
    image = Image.new("RGB", mask.shape[::-1], OFF)
    image.paste("white", mask=Image.fromarray(mask))
    return image


def diverging(channel: torch.Tensor, limit: float = 2.5) -> Image.Image:
    """(h, w) latents: blue below zero, white at zero, red above; `limit` standard deviations are full colour."""
    share = (channel / limit).clamp(-1, 1)[..., None].numpy()
    blue, red = np.array([33, 102, 172]), np.array([178, 24, 43])
    colours = 255 + np.abs(share) * (np.where(share < 0, blue, red) - 255)
    return Image.fromarray(colours.round().astype(np.uint8))


def montage(tiles: Sequence[Image.Image], columns: int = 4, scale: int = 2) -> Image.Image:
    """Tiles in rows of `columns`, each enlarged by a whole factor, with thin lines between them."""
    width, height = (side * scale + 1 for side in tiles[0].size)
    rows = -(-len(tiles) // columns)
    image = Image.new("RGB", (columns * width - 1, rows * height - 1), "#8c959f")
    for index, tile in enumerate(tiles):
        place = (index % columns * width, index // columns * height)
        image.paste(tile.resize((width - 1, height - 1), Image.Resampling.NEAREST), place)
    return image


def scaled(image: Image.Image, width: int, *, exact: bool = False) -> Image.Image:
    """To this width; `exact` keeps hard pixel edges."""
    size = (width, round(width * image.height / image.width))
    framed = image.resize(size, Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)
    ImageDraw.Draw(framed).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=LINE)
    return framed


def label(text: str, colour: str = FAINT) -> Image.Image:
    """Lines of text."""
    lines = text.split("\n")
    width = max(font(TEXT).getlength(line) for line in lines)
    image = Image.new("RGB", (int(width) + 2, (TEXT + 6) * len(lines)), "white")
    ImageDraw.Draw(image).multiline_text((0, 0), text, colour, font(TEXT), spacing=3)
    return image


def noted(image: Image.Image, text: str) -> Image.Image:
    """A picture over its caption."""
    return stacked(image, label(text), gap=5)


def stacked(*parts: Image.Image, gap: int = GAP) -> Image.Image:
    """Parts under each other, at the left."""
    height = sum(part.height for part in parts) + gap * (len(parts) - 1)
    image = Image.new("RGB", (max(part.width for part in parts), height), "white")
    top = 0
    for part in parts:
        image.paste(part, (0, top))
        top += part.height + gap
    return image


def beside(*parts: Image.Image, gap: int = GAP) -> Image.Image:
    """Parts in a row, at the top."""
    image = Image.new(
        "RGB", (sum(part.width for part in parts) + gap * (len(parts) - 1), max(part.height for part in parts)), "white"
    )
    left = 0
    for part in parts:
        image.paste(part, (left, 0))
        left += part.width + gap
    return image


def widened(part: Image.Image, width: int) -> Image.Image:
    """With white at the right."""
    image = Image.new("RGB", (width, part.height), "white")
    image.paste(part, (0, 0))
    return image


def page(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows on a white page with a margin."""
    inner = stacked(*rows)
    image = Image.new("RGB", (inner.width + 2 * MARGIN, inner.height + 2 * MARGIN), "white")
    image.paste(inner, (MARGIN, MARGIN))
    return image


def dashed(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str) -> None:
    """The outline of a box in dashes."""
    left, top, right, bottom = box
    for x in range(left, right, 16):
        for y in (top, bottom - 2):
            draw.line((x, y, min(x + 8, right), y), colour, 2)
    for y in range(top, bottom, 16):
        for x in (left, right - 2):
            draw.line((x, y, x, min(y + 8, bottom)), colour, 2)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own."""
    return ImageFont.load_default(size=size)


def save(image: Image.Image, name: str, *, colours: int | None = None) -> None:
    """As PNG; with few `colours`, noise takes half the space."""
    path = IMAGES / name
    if colours is not None:
        image = image.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG)
    image.save(path, optimize=True)
    print(f"{path.name}: {image.width}x{image.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
