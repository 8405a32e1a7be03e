"""What transformers' whole model takes for a question: pixels in colour, nothing folded or shared."""

import torch

from sgmri.interfaces import Frames
from worker.engine.fitting import fit
from worker.engine.local import LocalSpeaker
from worker.engine.prompts import chatml, prefix
from worker.engine.vision import preprocess


def whole_inputs(speaker: LocalSpeaker, frames: Frames, text: str) -> dict[str, torch.Tensor]:
    """Return its keyword arguments for frames and the text behind them."""
    fitted = fit(frames.pixels, speaker.profile.pixel_budget, block=32)
    cut = preprocess(fitted, patch=16, merge=2, mean=(0.5,) * 3, std=(0.5,) * 3, temporal=2)
    pads = "<|image_pad|>" * (cut.grid.rows * cut.grid.columns // 4)
    prompt = chatml(prefix(frames, speaker.profile)).replace("<|image_pad|>", pads) + text
    ids = torch.tensor([speaker.tokens(prompt)])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.from_numpy(cut.values).flatten(0, 1),
        "image_grid_thw": torch.tensor([[1, *cut.grid]] * len(fitted)),
        "mm_token_type_ids": torch.eq(ids, speaker.tokens("<|image_pad|>")[0]).int(),
    }
