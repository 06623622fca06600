"""Reads one photo: `python -I picture.py PATH MAX_PIXELS LONGEST` prints a line of JSON, then the pixels.

A script of its own, as probe.py: a hostile file can hang or kill only this process, which photo.py starts under limits.
"""

from __future__ import annotations

import json
import sys
from typing import Any

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")  # none that starts another program


def look(path: str, max_pixels: int, longest: int) -> tuple[dict[str, Any], bytes]:
    """The photo upright, RGB, sides above `longest` averaged down: its facts and pixels; or a status with a sentence."""
    from PIL import Image, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401 (they make formats known)

    Image.MAX_IMAGE_PIXELS = None  # our own bound comes before any pixel is decoded
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                return {"status": "too-large", "reason": f"{width}x{height} pixels, more than the {max_pixels} allowed; "
                                                         "make it smaller"}, b""
            image.draft("RGB", (longest, longest))  # a JPEG is decoded at half or a quarter where that is enough
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("RGBA", "LA", "PA", "P") or "transparency" in upright.info:
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            if upright.mode.startswith("I;16"):  # grey in 16 bits, which Pillow would not scale but cut off at white
                upright = upright.convert("I").point(lambda grey: grey * (1 / 257)).convert("L")
            rgb = upright.convert("RGB")
    except Exception as error:  # noqa: BLE001 (whatever a damaged file makes the decoder raise)
        return {"status": "corrupt", "reason": f"not a photo that can be read ({type(error).__name__}: "
                                               f"{' '.join(str(error).split())[:100]})"}, b""
    share = min(1.0, longest / max(rgb.size))
    small = rgb.size[0] * share, rgb.size[1] * share
    if share < 1:
        rgb = rgb.resize((max(round(small[0]), 1), max(round(small[1]), 1)), Image.Resampling.BOX)
    facts = {"status": "ok", "width": rgb.size[0], "height": rgb.size[1], "scale": max(rgb.size) / max(width, height)}
    return facts, rgb.tobytes()


if __name__ == "__main__":
    facts, pixels = look(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n" + pixels)
