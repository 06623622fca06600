"""What a made film says of itself, in its container's metadata: that it is synthetic, and what it was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.reenact.media import video_writer
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media import video

TOOL = "talking-heads-benchmark"


def make(**facts: Any) -> dict[str, str]:
    """The metadata: a JSON object in `comment`, which every container has and players show; and a title for people."""
    body = {"synthetic": True, "tool": TOOL, **facts}
    return {"title": f"synthetic: drawn by {TOOL}", "comment": json.dumps(body, sort_keys=True)}


def find(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The mark in a container's metadata, whatever the case of its names; None: there is none."""
    for name, text in metadata.items():
        if name.lower() == "comment":
            try:
                body = json.loads(text)
            except (ValueError, RecursionError):
                return None
            ours = isinstance(body, dict) and body.get("synthetic") is True and body.get("tool") == TOOL
            return body if ours and not any(isinstance(value, dict | list) for value in body.values()) else None
    return None


def inspect(path: Path, limits: video.Limits) -> dict[str, Any]:
    """The mark of a file. InputError: it cannot be read, or carries none."""
    try:
        metadata = video_writer.about(path, limits)["metadata"]
    except RejectedItem as problem:
        raise InputError(f"{path}: {problem}") from None
    if (found := find(metadata)) is None:
        raise InputError(f"{path}: carries no mark of {TOOL}; that does not say that it is real: metadata are easily removed")
    return found
