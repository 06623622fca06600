import os
import pickle

import numpy as np
import pytest
import torch
from small import SIZE, VIDEOS, Eyes, N, episode, method, settings
from torch import nn

from model.api import DataInfo, load
from model.few_shot.video_embeddings import Columns
from model.training.optim import Adam
from pipeline.core.errors import InputError


@pytest.fixture(autouse=True)
def eyes(monkeypatch):
    """Frozen features without weights files."""
    backbones = pytest.importorskip("model.backbones.perceptual")
    monkeypatch.setattr(backbones, "efflite0", Eyes)


def matrix(columns: Columns) -> torch.Tensor:
    return columns(torch.arange(columns.num_videos)).detach()


def allocated(file) -> int:
    return os.stat(file if isinstance(file, os.PathLike) else file.fileno()).st_blocks * 512


@pytest.mark.parametrize(("beta2", "eps"), [(0.999, 1e-5), (0.99, 1e-8)])
def test_ten_thousand_lazy_steps_are_those_of_dense_adam_over_the_whole_matrix(beta2, eps):
    columns, adam = Columns(40, 5, seed=3), Adam(beta1=0.9, beta2=beta2, eps=eps)
    dense = nn.Parameter(matrix(columns).clone())
    plain = torch.optim.Adam([dense], 1e-3, (0.0, beta2), eps)
    draw = torch.Generator().manual_seed(0)
    often = torch.tensor([1.0] * 4 + [0.1] * 8 + [0.001] * 20 + [0.0] * 8)  # each step, now and then, every 1,000 steps, never
    start, seen = matrix(columns), set()
    for step in range(10_000):
        i = torch.multinomial(often, 4, replacement=True, generator=draw)  # a video may come twice
        seen |= set(i.tolist())
        noise, lr = torch.randn(4, 5, generator=draw), 1e-3 * (1 - step / 20_000)
        columns.step(i, columns(i).detach() + noise, lr, adam)
        dense.grad = torch.zeros(40, 5).index_add_(0, i, dense.detach()[i] + noise)
        plain.param_groups[0]["lr"] = lr
        plain.step()
    assert 20 < len(seen) <= 32 and (matrix(columns) - start)[:4].abs().mean() > 0.01
    torch.testing.assert_close(matrix(columns), dense.detach(), atol=1e-6, rtol=0)
    assert torch.equal(matrix(columns)[32:], start[32:])


def test_an_update_reads_and_changes_the_batchs_columns_and_no_others(monkeypatch):
    columns, adam = Columns(6, 3, seed=0), Adam(beta1=0.0, beta2=0.99, eps=1e-8)
    columns.step(torch.arange(4), torch.ones(4, 3), 1e-2, adam)
    before, read, real = columns.read(range(6)), [], os.pread
    monkeypatch.setattr("model.few_shot.video_embeddings.os.pread", lambda file, size,
                        at: read.append(at // size) or real(file, size, at))
    columns.step(torch.tensor([1, 5, 1]), columns(torch.tensor([1, 5, 1])).detach(), 1e-2, adam)
    assert {*read} == {1, 5}
    now = columns.read(range(6))
    assert [i for i in range(6) if now[i].tobytes() != before[i].tobytes()] == [1, 5]


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_is_refused_and_changes_no_column(wrong):
    columns, adam = Columns(4, 3, seed=0), Adam(beta1=0.0, beta2=0.99, eps=1e-8)
    columns.step(torch.arange(4), torch.ones(4, 3), 1e-2, adam)
    before = columns.read(range(4)).tobytes()
    with pytest.raises(InputError, match=r"update 2 of W.*lr_W"), np.errstate(all="ignore"):
        columns.step(torch.tensor([2, 3]), torch.tensor([[1.0] * 3, [1.0, wrong, 1.0]]), 1e-2, adam)
    assert columns.read(range(4)).tobytes() == before


def test_a_column_seldom_met_moves_by_the_learning_rate_over_the_root_of_one_minus_beta2():
    columns, adam = Columns(2, 1, seed=0), Adam(beta1=0.0, beta2=0.9, eps=1e-12)
    one, g = torch.tensor([1]), torch.tensor([[-3.0]])
    columns.step(one, g, 0.1, adam)
    for _ in range(300):
        columns.step(torch.tensor([0]), g, 0.1, adam)
    before = columns(one).item()
    columns.step(one, g, 0.1, adam)
    assert columns(one).item() - before == pytest.approx(0.1 / 0.1**0.5, rel=1e-5)


def test_columns_start_uniform_and_depend_on_seed_and_video_alone():
    some, more, other = Columns(50, 64, seed=1), Columns(10**6, 64, seed=1), Columns(50, 64, seed=2)
    start = matrix(some)
    assert start.abs().max() <= 0.1 and start.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.02)
    assert len(start.unique(dim=0)) == 50 and not torch.equal(start, matrix(other))
    assert torch.equal(start, more(torch.arange(50)).detach()) and torch.equal(start[[7]], some(torch.tensor([7])).detach())
    assert allocated(some.file) == 0  # having been read leaves nothing


def test_the_file_has_no_name_and_takes_the_room_of_what_was_moved(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    columns = Columns(145_569, 512, seed=0)
    for i in torch.randint(145_569, (20, 8), generator=torch.Generator().manual_seed(0)):
        columns.step(i, torch.ones(8, 512), 1e-3, Adam(beta1=0.0, beta2=0.999, eps=1e-5))
    assert not [*tmp_path.iterdir()] and 160 * 4104 <= allocated(columns.file) <= 160 * 3 * 4096
    columns.save(tmp_path / "W")
    assert (tmp_path / "W").stat().st_size == 145_569 * 4104 and allocated(tmp_path / "W") <= 160 * 3 * 4096
    again = Columns(145_569, 512, seed=0)
    again.load(tmp_path / "W")
    videos = [*range(0, 145_569, 5000), *i.tolist()]
    assert np.array_equal(again.read(videos), columns.read(videos)) and (again.read(videos[-8:])["last"] > 0).all()


def test_a_write_that_a_filling_disk_cuts_short_goes_on_or_is_an_error(monkeypatch):
    columns, adam, write, room = Columns(4, 64, seed=0), Adam(beta1=0.0, beta2=0.9, eps=1e-8), os.pwrite, [300, 300]

    def narrow(file, data, at):
        if not room:
            raise OSError(28, "No space left on device")
        return write(file, data[:room.pop()], at)

    monkeypatch.setattr("model.few_shot.video_embeddings.os.pwrite", narrow)
    columns.step(torch.tensor([1]), torch.ones(1, 64), 1e-2, adam)  # 520 bytes in two writes
    assert not room and columns.read([1])["last"] == 1 and (columns.read([1])["v"] > 0).all()
    room.append(300)
    with pytest.raises(OSError, match="No space left"):
        columns.step(torch.tensor([2]), torch.ones(1, 64), 1e-2, adam)


def test_a_loaded_table_replaces_the_one_that_was_there(tmp_path):
    a, b = (Columns(100, 600, seed=0) for _ in range(2))
    for columns, i in ((a, [3]), (b, [3, 90])):
        columns.step(torch.tensor(i), torch.ones(len(i), 600), 1e-2, Adam(beta1=0.0, beta2=0.9, eps=1e-8))
    a.save(tmp_path / "W")
    b.load(tmp_path / "W")
    assert torch.equal(matrix(b), matrix(a)) and np.array_equal(b.read(range(100)), a.read(range(100)))


def test_a_table_of_another_run_and_a_disk_without_room_are_refused(tmp_path):
    Columns(3, 4, seed=0).save(tmp_path / "W")
    with pytest.raises(InputError, match=r"W .*120 bytes .*4 videos .*160"):
        Columns(4, 4, seed=0).load(tmp_path / "W")
    with pytest.raises(InputError, match=r"1000000000000 videos .* MiB.*TMPDIR"):
        Columns(10**12, 512, seed=0)(torch.tensor([0]))


@pytest.mark.parametrize("name", ["ff", "ft"])
def test_what_is_learnt_and_the_state_are_as_large_for_ten_videos_as_for_a_million(name):
    def size(num_videos):
        kind = load(name)
        one = kind(kind.Config.model_validate(settings(name)), DataInfo(SIZE, num_videos))
        one.learn(episode(0))
        return len(pickle.dumps(one.state())), one.parameters(), sum(p.numel() for p in one.D.parameters())

    assert size(10) == size(10**6)


@pytest.mark.parametrize("name", ["ff", "ft"])
def test_state_and_table_together_go_on_bit_for_bit(name, tmp_path):
    straight, resumed = method(name), method(name)
    for step in range(3):
        straight.learn(episode(step))
    state = torch.load(_saved(straight.state(), tmp_path / "state"), weights_only=True)
    straight.save_table(tmp_path / "W")
    resumed.load_state(state)
    resumed.load_table(tmp_path / "W")
    assert straight.learn(episode(3)) == resumed.learn(episode(3))
    assert np.array_equal(straight.D.W.read(range(VIDEOS)), resumed.D.W.read(range(VIDEOS)))
    assert straight.D.W.read(range(VIDEOS))["W"].shape == (VIDEOS, N)


def _saved(state, path):
    torch.save(state, path)
    return path
