"""Tiny gray images, and what a network should make of them, computed by hand."""

import numpy as np
import torch

from alframe.data.dataset import Splits, build_dataset

SIDE, ROWS, TEST = 8, 60, 20


def arrays(seed=0, brightness=0):
    """Inputs and labels of both parts, as a .npz file for ``data=array`` holds them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(ROWS + TEST) % 3
    noise = rng.integers(-40, 41, (len(labels), SIDE, SIDE, 1))
    inputs = np.clip(brightness + 60 + 50 * labels[:, None, None, None] + noise, 0, 255)
    inputs = inputs.astype(np.uint8)
    return {
        "inputs": inputs[:ROWS],
        "labels": labels[:ROWS],
        "test_inputs": inputs[ROWS:],
        "test_labels": labels[ROWS:],
    }


def dataset(seed=0, brightness=0):
    parts = arrays(seed, brightness)
    train, test = (parts["inputs"], parts["labels"]), (parts["test_inputs"], parts["test_labels"])
    return build_dataset("toy", train, test, None, Splits(validation=9))


def by_hand(embed, inputs, like):
    """The embeddings of images that are standardized as those in ``like`` are.

    Args:
        embed: Takes float32 [b, channels, h, w].
        inputs: uint8 [b, h, w, channels].
        like: Images whose mean and standard deviation count.
    """
    pixels = like.astype(np.float64)
    standardized = (inputs - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))
    with torch.no_grad():
        images = torch.from_numpy(standardized).float().permute(0, 3, 1, 2).contiguous()
        return embed(images).numpy()
