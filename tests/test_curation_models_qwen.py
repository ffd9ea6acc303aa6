"""Qwen2.5-VL in process: what it is given equals what its own processor makes, and what it answers is steady."""

import json
import logging

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from magref.curation.models import qwen
from magref.curation.models.asking import AskingCaptioner, Question, UnansweredError, sample_frames
from magref.curation.models.qwen import QwenCaptioner, fitting_size, patchify, resize, video_inputs
from magref.curation.models.shelf import Shelf
from magref.curation.wording import CAPTION_PROMPT, objects_prompt
from magref.errors import CheckpointError, InputError, ResourceError
from tiny import GOLDEN, seeded
from tiny_models import change_json, save_qwen, without_tensor

SMALL = (3136, 5000)
"""Pixels of a frame: few patches, so that the tests are quick."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("qwen") / "model")


@pytest.fixture(scope="module")
def shelf():
    return Shelf("cpu")


@pytest.fixture(scope="module")
def captioner(folder, shelf):
    return QwenCaptioner(folder, shelf=shelf, fps=16.0, dtype=torch.float32, pixels=SMALL, new_tokens=8)


@pytest.fixture(scope="module")
def parts(captioner, shelf):
    """The model and its tokenizer."""
    return shelf.take(captioner, captioner._load)


def clips(count, *, frames=5, height=60, width=100, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8) for _ in range(count)]


def inputs_of(parts, clip, *, fps=16.0, text="What moves?"):
    model, tokenizer = parts
    frames, step = sample_frames(clip)
    return video_inputs(model.config, tokenizer, [Question(frames, step / fps, (text,))], pixels=SMALL)


# --- what the model is given -----------------------------------------------------------------------------------------


def test_inputs_are_those_of_the_models_own_processor(parts):
    """Stored numbers of transformers' `Qwen2_5_VLProcessor`; see golden/README.md."""
    golden = np.load(GOLDEN / "curation_processors.npz")
    clip = np.random.default_rng(5).integers(0, 256, (21, 60, 100, 3), dtype=np.uint8)
    inputs = inputs_of(parts, clip)
    for name in ("input_ids", "mm_token_type_ids", "video_grid_thw", "second_per_grid_ts"):
        np.testing.assert_array_equal(inputs[name], golden[f"qwen_{name}"])
    assert tuple(inputs["pixel_values_videos"].shape) == tuple(golden["qwen_pixels_shape"])
    np.testing.assert_allclose(inputs["pixel_values_videos"][::7, ::13], golden["qwen_pixels"], atol=1e-5)


def test_two_frames_share_a_patch():
    """Each half of a patch is what the image processor, which runs without torchvision, makes of that frame."""
    frames = clips(1, frames=2, height=70, width=120)[0]
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": SMALL[0], "longest_edge": SMALL[1]})
    alone = [processor(images=frame, return_tensors="pt") for frame in frames]
    made, grid = patchify(resize(frames, factor=28, pixels=SMALL), 14, 2, 2)
    assert grid == tuple(alone[0]["image_grid_thw"][0].tolist())
    halves = made.view(-1, 3, 2, 14, 14)
    for n, image in enumerate(alone):
        expected = image["pixel_values"].view(-1, 3, 2, 14, 14)[:, :, 0]
        one_level = 1.01 / 255 / min(qwen.STD)  # PIL and torch round a few pixels differently
        torch.testing.assert_close(halves[:, :, n], expected, atol=one_level, rtol=0)


def test_of_an_odd_number_of_frames_the_last_is_seen_twice():
    frames = torch.from_numpy(clips(1, frames=3, height=28, width=28)[0]).permute(0, 3, 1, 2)
    odd, grid = patchify(frames, 14, 2, 2)
    even, same = patchify(torch.cat([frames, frames[-1:]]), 14, 2, 2)
    assert grid == same == (2, 2, 2)
    assert torch.equal(odd, even)


@pytest.mark.parametrize(
    ("size", "pixels", "expected"),
    [
        ((480, 832), (100_352, 602_112), (476, 840)),  # 17 x 30 blocks of 28: within both bounds
        ((1080, 1920), (100_352, 602_112), (560, 1008)),  # sqrt(1080 * 1920 / 602112) = 1.8558
        ((90, 160), (100_352, 602_112), (252, 448)),  # sqrt(100352 / 14400) = 2.6399
        ((20, 3000), (1, 30_000), (28, 2100)),  # sqrt(2); a side is never less than one block
    ],
)
def test_the_size_that_frames_are_seen_in(size, pixels, expected):
    assert fitting_size(*size, factor=28, pixels=pixels) == expected


def test_frames_that_are_too_narrow(captioner):
    with pytest.raises(InputError, match="frames of 4x900 are too narrow for the captioner; crop them"):
        captioner.caption([np.zeros((2, 900, 4, 3), np.uint8)])


@pytest.mark.parametrize(("length", "count", "last", "step"), [(81, 16, 75, 81 / 16), (16, 16, 15, 1), (5, 5, 4, 1)])
def test_frames_are_sampled_in_equal_steps(length, count, last, step):
    frames, found = sample_frames(np.arange(length, dtype=np.uint8)[:, None, None, None].repeat(3, 3))
    assert (len(frames), frames[0, 0, 0, 0], frames[-1, 0, 0, 0], found) == (count, 0, last, step)


def test_the_models_answer_depends_on_time_and_on_order(parts):
    model, _ = parts
    (clip,) = clips(1, frames=4)

    def logits(clip, fps=16.0):
        with torch.inference_mode():
            return model(**inputs_of(parts, clip, fps=fps)).logits[0, -1]

    straight = logits(clip)
    assert not torch.allclose(straight, logits(clip[::-1]))
    assert not torch.allclose(straight, logits(clip, fps=2.0))  # patches lie further apart in time


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_batch_answers_as_one_by_one(folder, shelf):
    mixed = [*clips(2), *clips(1, frames=7, height=100, width=60, seed=1)]  # another number of tokens: padded
    settings = {"shelf": shelf, "fps": 16.0, "dtype": torch.float32, "pixels": SMALL, "new_tokens": 6}
    alone = QwenCaptioner(folder, batch=1, **settings).caption(mixed)
    together = QwenCaptioner(folder, batch=3, **settings).caption(mixed)
    assert together == alone
    assert len(set(alone)) == 3


def test_decoding_is_what_the_published_settings_leave(captioner, parts):
    """Temperature 0.1 and top-p 0.001 choose the likeliest token, whatever the generator."""
    model, tokenizer = parts
    (clip,) = clips(1)
    inputs = inputs_of(parts, clip, text=CAPTION_PROMPT)
    with seeded(3), torch.inference_mode():
        sampled = model.generate(
            **inputs, do_sample=True, temperature=0.1, top_p=0.001, top_k=0, repetition_penalty=1.05, max_new_tokens=8
        )
    words = tokenizer.decode(sampled[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert captioner.caption([clip]) == [words]


def test_tokens_are_logged(captioner):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log = logging.getLogger(qwen.__name__)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        captioner.caption(clips(1, frames=2))
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    (line,) = lines
    assert line.startswith("1 answers, ")
    assert "tokens asked" in line


# --- objects, and answers that cannot be read -------------------------------------------------------------------------


class Scripted(AskingCaptioner):
    """Says what it was told to say, in turn for each batch of questions."""

    def __init__(self, *batches):
        super().__init__(fps=16.0)
        self.batches = list(batches)
        self.asked = []

    def reply(self, questions):
        self.asked.append(questions)
        replies = self.batches.pop(0)
        assert len(replies) == len(questions)
        return replies


GOOD = '{"subjects": ["a man"], "objects": ["red hat"], "background": []}'


def test_objects_are_asked_for_with_the_caption():
    scripted = Scripted([GOOD, '["tree"]'])
    assert scripted.name_objects(clips(2), ["A man in a red hat.", "A tree."]) == [["a man", "red hat"], ["tree"]]
    (questions,) = scripted.asked
    assert [question.turns for question in questions] == [
        (objects_prompt("A man in a red hat."),),
        (objects_prompt("A tree."),),
    ]


def test_what_is_no_json_is_asked_for_once_more():
    scripted = Scripted([GOOD, "There is a tree."], ['["tree"]'])
    assert scripted.name_objects(clips(2), ["A man in a red hat.", "A tree."])[1] == ["tree"]
    again = scripted.asked[1][0].turns
    assert again[:2] == (objects_prompt("A tree."), "There is a tree.")
    assert "JSON alone" in again[2]


def test_twice_no_json_is_a_failure_of_that_clip_alone():
    scripted = Scripted(["A tree!", GOOD, "?"], ["A tree, I said.", "{"])
    with pytest.raises(
        UnansweredError, match=r"named no objects but answered 'A tree, I said\.'.*first of 2 of 3"
    ) as caught:
        scripted.name_objects(clips(3), ["A tree.", "A man in a red hat.", "x"])
    assert caught.value.answers == [None, ["a man", "red hat"], None]
    assert sorted(caught.value.failures) == [0, 2]
    assert isinstance(caught.value.failures[0], InputError)


def test_what_could_not_be_asked_is_not_asked_again():
    broken = ResourceError("the server is gone")
    scripted = Scripted([broken, GOOD])
    with pytest.raises(UnansweredError, match="the server is gone") as caught:
        scripted.name_objects(clips(2), ["x", "A man in a red hat."])
    assert caught.value.failures == {0: broken}
    assert len(scripted.asked) == 1


def test_a_caption_without_a_word_is_a_failure():
    with pytest.raises(UnansweredError, match="described a clip with no word") as caught:
        Scripted([" A dog runs. ", " \n"]).caption(clips(2))
    assert caught.value.answers == ["A dog runs.", None]


def test_nothing_is_asked_about_nothing(captioner):
    assert captioner.caption([]) == []
    assert captioner.name_objects([], []) == []


def test_the_second_question_reaches_the_model(captioner, parts):
    """A conversation of three turns goes through the template: the video once, and every word."""
    model, tokenizer = parts
    frames, _ = sample_frames(clips(1)[0])
    inputs = video_inputs(model.config, tokenizer, [Question(frames, 0.1, ("One?", "Two.", "Three?"))], pixels=SMALL)
    shown = tokenizer.decode(inputs["input_ids"][0])
    assert shown.count("<|vision_start|>") == 1
    parts_in_order = [shown.index(part) for part in ("<|video_pad|>", "One?", "assistant\nTwo.", "user\nThree?")]
    assert parts_in_order == sorted(parts_in_order)
    assert shown.endswith("assistant\n")
    assert isinstance(captioner.reply([Question(frames, 0.1, ("One?", "Two.", "Three?"))])[0], str)


# --- folders ---------------------------------------------------------------------------------------------------------


def opened(folder):
    return QwenCaptioner(folder, shelf=Shelf("cpu"), fps=16.0, pixels=SMALL, new_tokens=2).caption(clips(1, frames=2))


def test_a_template_in_the_processors_file(tmp_path):
    folder = save_qwen(tmp_path / "model")
    jinja = folder / "chat_template.jinja"
    template = jinja.read_text()
    jinja.unlink()
    with pytest.raises(CheckpointError, match=r"chat_template\.json is missing"):
        opened(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    opened(folder)


def test_what_is_not_whole(tmp_path):
    folder = save_qwen(tmp_path / "model")
    without_tensor(folder, "model.norm.weight")
    with pytest.raises(CheckpointError, match=r"lacks .*norm\.weight of a Qwen2_5_VLForConditionalGeneration"):
        opened(folder)
    change_json(folder / "config.json", text_config=None, hidden_size=7)
    with pytest.raises(CheckpointError):
        opened(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        opened(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be opened"):
        opened(folder)
