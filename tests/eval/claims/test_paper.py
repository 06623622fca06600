import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "paper.md").read_text()
NAMES = sorted(set(re.findall(r"`(model\.[\w.]+)`", PAGE)))


def exists(name):
    """Whether a dotted name is a module, something in it, or an attribute that instances of a class in it are given."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            if not hasattr(found, part):
                source = Path(importlib.import_module(found.__module__).__file__).read_text() if isinstance(found, type) else ""
                return part == parts[-1] and re.search(rf"self\.{part}\b[^\n]*=", source) is not None
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_table_exists_in_the_code(name):
    assert exists(name)


def test_the_check_of_names_can_fail():
    assert len(NAMES) > 20
    for name in ("networks.Embedder.everage", "nets.E", "losses.l_cnt"):
        assert not exists(f"model.few_shot.{name}")


def test_every_file_the_page_names_exists():
    files = re.findall(r"`((?:model|tests)/[\w/]+\.py)`", PAGE)
    assert files and all((ROOT / file).is_file() for file in files)


@pytest.mark.parametrize("symbol", ["ê_i", "ψ̂_i", "W_i", "w_0", "ψ'", "w'", "L_CNT", "L_FM", "L_MCH", "L_DSC"])
def test_every_symbol_of_the_paper_is_in_the_table(symbol):
    table = PAGE.split("## Symbol -> code")[1].split("## Section")[0]
    assert symbol in table
