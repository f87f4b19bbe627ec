"""Reads what a model must know from the shape of one row."""

from __future__ import annotations

from alframe.errors import UserError


def image_channels(input_shape: tuple[int, ...], model: str) -> int:
    """Returns the number of channels of the images.

    Args:
        input_shape: Shape of one row: (height, width, channels).
        model: Name of the model that wants images, for the message.

    Raises:
        UserError: When a row is not an image.
    """
    if len(input_shape) != 3:
        raise UserError(
            f"{model} expects images (height, width, channels), but a row of the data has shape "
            f"{tuple(input_shape)}: choose learner@target=mlp (or learner@proxy=mlp), or "
            "image data with the key data"
        )
    return input_shape[2]
