"""Checks of the numbers that come from a config."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, TypeGuard

from alframe.errors import UserError


def as_list(value: object) -> list[Any]:
    """Returns a list or tuple as a list, and anything else as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def is_whole(value: object) -> TypeGuard[int]:
    """Tells whether ``value`` is an integer; booleans are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Tells whether ``value`` is a real number; booleans are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_part(key: str, part: object) -> None:
    """Raises `UserError` unless ``part`` is a fraction in [0, 1) or a whole number from 0 on."""
    if is_whole(part) and part >= 0:
        return
    if is_number(part) and not is_whole(part) and 0 <= part < 1:
        return
    raise UserError(
        f"{key}={part}: expected a fraction from 0 to below 1, or a whole number of rows."
    )


def part_size(key: str, part: float, total: int) -> int:
    """Returns how many of ``total`` rows a fraction or a number of rows means, below ``total``."""
    size = int(part) if is_whole(part) else round(part * total)
    if size >= total:
        raise UserError(
            f"{key}={part}: expected fewer than the {total} rows that there are, got {size}."
        )
    return size


def check_whole(key: str, value: object, at_least: int) -> None:
    """Raises `UserError` unless ``value`` is a whole number of the given size."""
    if not (is_whole(value) and value >= at_least):
        raise UserError(f"{key}={value}: expected a whole number, {at_least} or more.")


def check_range(key: str, value: object, low: float, high: float) -> None:
    """Raises `UserError` unless ``value`` is a number in [low, high]."""
    if not (is_number(value) and low <= value <= high):
        raise UserError(f"{key}={value}: expected a number from {low:g} to {high:g}.")
