"""Reads one photo: `python -I photo_exec.py PATH MAX_PIXELS LONGEST` prints a line of JSON, then the pixels.

Run as a process of its own, like pipeline/media/probe_exec.py: an untrusted file can hang or kill only this process, which
photo.py starts under limits.
"""

from __future__ import annotations

import json
import sys
from typing import Any

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")  # none that starts another program


def look(path: str, max_pixels: int, longest: int) -> tuple[dict[str, Any], bytes]:
    """Status, size and scale, and the pixels: upright RGB, averaged down to `longest`; or a status with a reason, no pixels."""
    from PIL import Image, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401 (they register formats)

    Image.MAX_IMAGE_PIXELS = None  # max_pixels is checked below, before any pixel is decoded
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                return {"status": "too-large", "reason": f"{width}x{height} pixels, more than the {max_pixels} allowed; "
                                                         "make it smaller"}, b""
            image.draft("RGB", (longest, longest))  # a JPEG is decoded at a half or a quarter of its size if that suffices
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("RGBA", "LA", "PA", "P") or "transparency" in upright.info:
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            if upright.mode.startswith("I;16"):  # 16-bit grey, which Pillow would clip instead of scaling
                upright = upright.convert("I").point(lambda grey: grey * (1 / 257)).convert("L")
            rgb = upright.convert("RGB")
    except Exception as error:  # noqa: BLE001 (decoders raise anything on a damaged file)
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
