"""The tables of docs/gpu.md out of a gpu.json: python -m benchmarks.gpu.tables gpu.json. A dash: not measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAPER = {"ff": ("Ours-FF", "0.061", "0.138", "0.221", "0.139"), "ft": ("Ours-FT", "43.84", "85.48", "258.0", "0.139"),
         "x2face": ("X2Face", "0.236", "1.176", "7.542", "0.110"),
         "pix2pixhd": ("pix2pixHD", "33.92", "52.40", "122.6", "0.034")}
WAYS = ("fp32 again", "tf32", "bf16", "fp32, compiled", "bf16, compiled", "folded", "folded, CUDA graph")
STEPS = [f"ft, batch {batch}, {precision}" for batch in (1, 8, 48) for precision in ("bf16", "tf32", "fp32")]
STEPS += [f"ft, batch {batch}, bf16, {mode}" for batch in (1, 8) for mode in ("compiled", "compiled, CUDA graphs")]
STEPS += ["ft, batch 8, bf16, cuDNN's search"]
STEPS += [f"{name}, batch 8, as configured" for name in ("ff", "x2face", "pix2pixhd")]
FRAMES = [f"frames of FF or FT, {n} at a time, bf16, {way}" for n in (1, 8)
          for way in ("layer by layer", "compiled", "CUDA graph")]
MACHINE = ("device", "memory_gib", "driver", "cuda", "torch", "python", "cores")


def tables(body: dict[str, Any]) -> str:
    """All tables, whatever of them was measured."""
    parts = {name: body.get("parts", {}).get(name, {}) for name in ("correct", "table2", "steps", "loader", "train")}
    made = {name: globals()[f"_{name}"](part.get("results", {})) for name, part in parts.items()}
    text = ["Machine: " + ", ".join(f"{name} {body.get(name, '–')}" for name in MACHINE) + "."]
    for name, table in made.items():
        text.append(table)
        text += [f"- not measured, {what}: {why}" for what, why in sorted(parts[name].get("errors", {}).items())]
    return "\n".join(text) + "\n"


def number(value: Any, form: str = ".3g") -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:{form}}"


def _table(title: str, head: str, rows: list[list[str]]) -> str:
    cells = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"\n### {title}\n", head, "|---" * (head.count("|") - 1) + "|", *cells, ""])


def _correct(found: dict[str, Any]) -> str:
    rows = []
    for way in WAYS:
        one = found.get(way, {})
        pairs = [f"{number(one.get('errors', {}).get(kind), '.1e')} (≤ {number(one.get('bounds', {}).get(kind), '.0e')})"
                 if one.get("errors", {}).get(kind) is not None else "–" for kind in ("G", "losses", "gradients")]
        rows.append([way, *pairs, {None: "–", True: "yes", False: "**no**"}[one.get("within")]])
    return _table("How far from float32 run layer by layer", "| way | frame of G | losses | gradients | in bounds |", rows)


def _table2(found: dict[str, Any]) -> str:
    rows = []
    for name, (label, *paper) in PAPER.items():
        one = found.get(name, {})
        cells = [one.get("few_shot", {}).get(str(T), {}) for T in (1, 8, 32)] + [one.get("frame", {})]
        rows.append([label, *(f"{number(cell.get('median'))} / {theirs}" for cell, theirs in zip(cells, paper)),
                     number(one.get("set_up", {}).get("median")), str(cells[-1].get("n", "–"))])
    return _table("Table 2 at the paper's size: seconds here / the paper's on an NVIDIA P40",
                  "| method | T = 1 | T = 8 | T = 32 | a frame | set-up | n of frames |", rows)


def _steps(found: dict[str, Any]) -> str:
    rows = [[name, number(one.get("median")), number(one.get("images_per_second", one.get("frames_per_second"))),
             number(one.get("peak_gib")), str(one.get("n", "–"))]
            for name in (*STEPS, *FRAMES) for one in [found.get(name, {})]]
    big = found.get("largest batch, bf16", {})
    rows.append(["largest batch of FT, bf16", f"{big.get('fits', '–')} episodes", "–", number(big.get("peak_gib")), "–"])
    return _table("A meta step (256 px, K = 8) and a frame", "| what | seconds | images/s | GPU memory, GiB | n |", rows)


def _loader(found: dict[str, Any]) -> str:
    rows = [[name, number(one.get("frames_per_second")), number(one.get("per_core"))]
            for name, one in sorted(found.items())] or [["one process a core", "–", "–"]]
    return _table("Reading frames from shards", "| what | frames/s | per core |", rows)


def _train(found: dict[str, Any]) -> str:
    learning, data, ssim = found.get("learning", {}), found.get("data", {}), found.get("ssim", {})
    rows = [["data", str(data.get("what", "–"))], ["steps", str(learning.get("steps", "–"))],
            ["seconds", number(learning.get("seconds"))], ["seconds a step", number(learning.get("step"))]]
    rows += [[f"SSIM, {name}", number(ssim.get(name, {}).get("mean"))] for name in ("not fine-tuned", "T=1", "T=8", "T=32")]
    rows.append(["people tested", str(ssim.get("T=32", {}).get("people", "–"))])
    return _table("A 256 px training of FT on `large`", "| what | value |", rows)


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1]).read_text())), end="")
