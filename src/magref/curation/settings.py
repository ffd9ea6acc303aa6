"""Every threshold of curation, one record for each stage. Each default names its source.

The paper (3.1) states one number, the 25% of overlap with faces, and the length of 81 frames. Defaults marked "ours"
were chosen and measured here (docs/curation.md); the others are those of the pipelines or models they name.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from magref.settings import Record

Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Degrees = Annotated[float, Field(ge=0, le=180)]


class Part(Record):
    """Base of the stages' settings: numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class SourceSettings(Part):
    """Which videos are looked at."""

    min_short_side_px: Count = 256
    """Of the upright picture. Ours: less would be enlarged for training at 480p, where even 256 is little."""
    scan_short_side_px: Count = 256
    """To which frames are made smaller for cuts and motion. Short side 256 as in cosmos-curate's motion filter."""


class CutSettings(Part):
    """Where a shot ends: hard cuts (PySceneDetect's AdaptiveDetector, its own defaults) and gradual ones (ours)."""

    adaptive_ratio: Positive = 3.0
    """How many times the change around it a hard cut must be. PySceneDetect."""
    adaptive_change: Positive = 15.0
    """The least change of a hard cut, in levels of HSV. PySceneDetect."""
    rate_hz: Positive = 12.5
    """Looks a second for gradual transitions. Ours: a transition of a quarter of a second is seen three times."""
    longest_s: Positive = 2.1
    """The longest gradual transition that is looked for. Ours."""
    change: Positive = 0.65
    """How different the pictures before and after must be: half the distance of their colours' histograms, 0 to 1, and
    twice the mean distance of their pixels, 0 to 1. Ours, set on generated transitions."""
    unrest: Share = 0.5
    """How much the pictures may change before and after, as a share of the change between. Ours."""
    mixture_error: Share = 0.25
    """How far pictures within may be from mixtures of both ends, as a share of the ends' distance. Ours: a camera that
    swings passes over pictures that no mixture explains."""
    relit: Positive = 0.3
    """How different, measured likewise, they must be with one made as dark as the other; else the light changed."""
    blank_contrast: Share = 0.01
    """Under which standard deviation of brightness a picture is blank, as between two halves of a fade. Ours."""
    trim_hard_s: Seconds = 0.1
    """Left out at a hard cut, where encoders smear. Ours; cosmos-curate leaves out 0.5 s at any cut."""
    trim_gradual_s: Seconds = 0.5
    """Left out at a gradual transition, beyond its measured extent. cosmos-curate."""


class WindowSettings(Part):
    """Which frames of a shot become a clip."""

    frames: Count = 81
    """The length that the 14B model is trained with (paper 3.1)."""
    fps: Positive | None = 16.0
    """Frames a second of the clip, Wan2.1's rate; None: the source's own."""
    stride: Count = 1
    """Every so manieth frame at that rate (paper 4.1: temporal stride 1)."""
    per_shot: Count | None = None
    """The most windows of one shot; None: as many as fit without overlap."""
    short_side_px: Count | None = 720
    """To which larger clips are made smaller; None: never. Ours: training is at 480p, and 81 frames of 8K are 8 GB."""


class MotionSettings(Part):
    """How much must move, in % of the picture's diagonal a second. The paper gives no numbers; all here are ours."""

    pairs_hz: Positive = 8.0
    """Pairs of neighbouring frames that are measured in each second."""
    least: Annotated[float, Field(ge=0)] = 0.5
    """A slide show has 0, people who talk before a still camera about 1 to 3."""
    most: Positive = 60.0
    """Above, everything is gone within two seconds: whip pans, flicker, broken decoding."""


class OverlaySettings(Part):
    """Logos, watermarks and subtitles: what stands still over a moving picture. Off by default, not in the paper."""

    enabled: bool = False
    looks: Annotated[int, Field(ge=4)] = 16
    """Frames of a window that are compared."""
    edge: Positive = 8.0
    """From which change of brightness from one pixel to the next an edge counts, of 255, at 480 pixels. Ours."""
    steadiness: Share = 0.9
    """How alike an edge must be over time to count as standing still. Ours."""
    activity: Positive = 12.0
    """How much brightness must change over time around an edge, of 255, for its standing still to mean anything."""
    moving: Share = 0.7
    """In how much of the picture it must: before a still camera, much stands still by itself. Ours."""
    most: Share = 0.005
    """The largest part of the picture that overlays may cover. Ours."""


class AestheticSettings(Part):
    """The least score of the improved aesthetic predictor."""

    least: float = 4.5
    """Open-Sora (4.5, in its later stage 5.0); cosmos-curate 3.5."""
    over: Literal["mean", "least"] = "mean"
    """Of the scores of a window's first, middle and last frame."""


class CaptionSettings(Part):
    """What a caption must be."""

    least_words: Count = 8
    """Ours: shorter answers of a captioner are refusals or labels."""


class LabelSettings(Part):
    """Which words of a caption may name an object."""

    most: Count = 12
    """Labels asked of the detector for one caption. Ours: GroundingDINO takes 256 tokens of text."""
    longest_words: Count = 6
    """Ours: longer ones are clauses."""
    human_words: tuple[str, ...] = ()
    """More words that mean people, beside those of `words.py`."""
    body_words: tuple[str, ...] = ()
    background_words: tuple[str, ...] = ()
    thin_words: tuple[str, ...] = ()


class BoxSettings(Part):
    """Which boxes of the detector count."""

    least_score: Share = 0.25
    """GroundingDINO's own; VACE and Grounded-SAM use the same."""
    same_iou: Share = 0.5
    """From which IoU two boxes of one label are one. VACE."""


class RefineSettings(Part):
    """How a mask is smoothed (paper 3.1: erosion and dilation)."""

    kernel: Share = 0.02
    """The kernel's side as a share of the square root of the mask's area. Ours: a fixed one breaks small things."""
    thin_loss: Share = 0.1
    """Opening that takes more of a mask than this, or breaks it, is left out: the thing is thin. Ours."""
    speck: Share = 0.002
    """Parts smaller than this share of the mask are dropped. Ours."""


class ShapeLimits(Part):
    """What a mask must be like to be an object's. Of the kinds in `ObjectSettings`, each has its own."""

    area: tuple[Share, Share] = (0.01, 0.60)
    """Least and most share of the frame. Ours; the paper removes small objects without saying how small."""
    fill: tuple[float, float] = (0.15, 1.05)
    """Mask over box. Real output ranged from 0.07 (a necklace) to 1.65 (grass, far outside of its box)."""
    aspect: tuple[Positive, Positive] = (0.2, 5.0)
    """Width over height."""
    parts: Count = 8
    """The most separate parts of the segmenter's mask."""


class ObjectSettings(Part):
    """Which masks are objects (paper 3.1: human, small and oddly shaped ones are removed)."""

    usual: ShapeLimits = ShapeLimits()
    thin: ShapeLimits = ShapeLimits(area=(0.001, 0.60), fill=(0.03, 1.05), aspect=(0.05, 20.0))
    """Necklaces, glasses, ropes: area and fill say little of them. Ours."""
    background: ShapeLimits = ShapeLimits(area=(0.15, 1.0), fill=(0.15, 1.05), aspect=(0.1, 10.0))
    """Places, kept as candidates for a background, never as objects. Ours."""
    human_iou: Share = 0.8
    """From which IoU with a person's mask an object is that person under another name. Ours; clothes cover less."""
    same_iou: Share = 0.8
    """From which IoU two masks are one thing under two labels. Ours."""
    face_overlap: Share = 0.25
    """Above it an object is removed for lying on a face (paper 3.1)."""
    face_measure: Literal["mask", "box"] = "mask"
    """mask: the part of the object's mask that lies in the face's box. box: IoU of the boxes, the paper's words taken
    literally, by which glasses (0.27) barely go and most of what hides a face stays."""


class FaceSettings(Part):
    """Which faces are looked at."""

    least_score: Share = 0.5
    """InsightFace's own. Others use 0.65, which cost one of two people 79 of 95 faces in a real clip."""
    least_side_px: Count = 64
    """Of the box's shorter side, for a reference."""
    padding: Share = 0.25
    """Added on each side for a second look where no face was found: close faces touch the border."""
    neighbours: Annotated[int, Field(ge=0)] = 1
    """Clips before and after, of the same video, whose faces count too (paper 3.1: adjacent clips)."""


class IdentitySettings(Part):
    """Which faces are of one person (paper 3.1: embeddings become IDs)."""

    follow_iou: Share = 0.3
    """From which IoU faces of neighbouring frames can be one. Ours."""
    follow_cosine: Cosine = 0.15
    """Under which cosine they are two all the same: somebody steps before somebody. Ours, of ArcFace embeddings."""
    gap_s: Seconds = 0.5
    """How long a face may be away and still be followed. Ours."""
    cosine: Cosine = 0.45
    """From which mean cosine two tracks are one person. ArcFace embeddings."""
    least_faces: Count = 8
    """Fewer make no identity. Ours; ten are sampled."""


class CandidateSettings(Part):
    """Which faces of an identity become references."""

    yaw: Degrees = 45.0
    pitch: Degrees = 30.0
    roll: Degrees = 30.0
    """The paper filters by the three angles without numbers; these are usual for recognition."""
    pool: Count = 30
    """How many of the best ranked the sample is drawn from. Ours."""
    sample: Count = 10
    """Drawn uniformly in time (paper 3.1: ten faces)."""
    margin: Share = 0.25
    """Added around a face's box for the picture. Ours: hair and chin belong to a person."""


class SampleSettings(Part):
    """What makes a sample (equation 1)."""

    identities: Count = 1
    """People in a sample, the most seen first (equation 1: one)."""
    without_faces: bool = False
    """Whether a clip without any identity makes a sample of its objects. The paper's always have one."""
    least_objects: Annotated[int, Field(ge=0)] = 1
    """Equation 1: objects 1 to k."""
    most_objects: Annotated[int, Field(ge=0)] = 6
    """k. Ours; a canvas has room for eight references."""
    backgrounds: bool = True
    """Whether candidates for a background are stored; training leaves them out unless told otherwise (paper 4.1)."""


class GuardSettings(Part):
    """A last look at samples by code of one's own, for safety and consent. Off by default, not in the paper."""

    name: str | None = None
    """An object with a method `refuse`, as module:object; None: nobody is asked."""


class DuplicateSettings(Part):
    """What is left out because it is there already (paper 3.1: 1.3 M become 0.5 M; no method is given)."""

    near: Positive = 0.01
    """From which 1 - cosine of embeddings clips are different. cosmos-curate's eps."""
    cluster: Count = 5000
    """About how many clips are compared with each other; neighbours across clusters are missed. Ours."""
    per_source: Count | None = None
    """The most clips of one video, the best first."""
    per_identity: Count | None = None
    """The most samples of one person."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the first centres of the clusters."""


class CurationSettings(Part):
    """All of curation."""

    source: SourceSettings = SourceSettings()
    cuts: CutSettings = CutSettings()
    windows: WindowSettings = WindowSettings()
    motion: MotionSettings = MotionSettings()
    overlay: OverlaySettings = OverlaySettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    aesthetic: AestheticSettings = AestheticSettings()
    caption: CaptionSettings = CaptionSettings()
    labels: LabelSettings = LabelSettings()
    boxes: BoxSettings = BoxSettings()
    refine: RefineSettings = RefineSettings()
    objects: ObjectSettings = ObjectSettings()
    faces: FaceSettings = FaceSettings()
    identities: IdentitySettings = IdentitySettings()
    candidates: CandidateSettings = CandidateSettings()
    samples: SampleSettings = SampleSettings()
    guard: GuardSettings = GuardSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.motion.least > self.motion.most:
            raise ValueError(f"motion from {self.motion.least} to {self.motion.most} is no range")
        if self.candidates.sample > self.candidates.pool:
            raise ValueError(f"{self.candidates.sample} faces cannot be drawn from a pool of {self.candidates.pool}")
        return self
