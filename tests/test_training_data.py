"""What training reads: captions as generation reads them, the manifest row by row, a cache of these very samples."""

from __future__ import annotations

import pytest
import torch

from magref.conditioning import encode_text
from magref.training.encoding import caption_features, pad_texts
from tiny import tiny_text_encoder, tiny_tokenizer

TEXT_TOKENS = 64


class TestCaptions:
    @pytest.mark.parametrize("caption", ["A  man\n&amp; his dog ", "cafÃ© &lt;3", "plain words"])
    def test_a_text_encoder_that_is_trained_sees_what_generation_shows_it(self, caption):
        tokenizer, encoder = tiny_tokenizer(), tiny_text_encoder()
        with torch.no_grad():
            trained = caption_features([caption, "another, longer caption"], tokenizer, encoder, TEXT_TOKENS)
            generated = encode_text(caption, tokenizer=tokenizer, text_encoder=encoder, text_tokens=TEXT_TOKENS)
        assert torch.allclose(trained[0], pad_texts([generated], TEXT_TOKENS)[0], atol=1e-5)
