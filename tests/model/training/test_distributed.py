import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from learners import learnt
from small import Eyes, episode, method

from model.api import Method
from model.training import distributed
from pipeline.core.errors import InputError


@pytest.fixture(autouse=True)
def eyes(monkeypatch):
    """Frozen features without weights files."""
    backbones = pytest.importorskip("model.backbones.perceptual")
    monkeypatch.setattr(backbones, "efflite0", Eyes)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes of torchrun made, each."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(Path(__file__).parents[2].joinpath("learners.py")), str(folder)]
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def assert_close(one, other):
    """Nested numbers and tensors of one order of magnitude, to the rounding of float32 over three updates."""
    torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["ff", "ft", "ft in parts", "pix2pixhd"])
def test_two_processes_log_and_learn_what_one_does_with_the_whole_batch(two, name):
    alone = learnt(name.split()[0])
    assert_close(two[0][name], alone)
    assert two[0][name]["scalars"][-1] != two[0][name]["scalars"][0]


@pytest.mark.parametrize("name", ["ff", "ft", "pix2pixhd"])
def test_two_processes_end_with_the_bits_of_one_that_takes_the_batch_in_two_parts(two, name):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = learnt(name, micro_batch=2)
    torch.set_num_threads(threads)
    torch.testing.assert_close(two[0][name], alone, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["ff", "ft", "pix2pixhd"])
def test_every_process_ends_with_the_same_bits(two, name):
    torch.testing.assert_close(two[0][name], two[1][name], atol=0, rtol=0)


def test_a_term_that_is_not_finite_in_one_process_stops_all_with_its_sentence(two):
    assert two[0]["refused"] == two[1]["refused"]
    assert two[0]["refused"]["ff"].startswith("step 0: l_cnt is nan on videos 2, 4;")
    assert two[0]["refused"]["pix2pixhd"].startswith("step 0: l_fm is nan on videos 2, 4;")


def test_a_frame_that_one_process_cannot_read_stops_all_with_its_sentence(two):
    assert [one["unread"] for one in two] == ["the frame is damaged"] * 2


def test_what_learns_from_whole_batches_only_is_refused_in_several_processes(two):
    assert two[1]["refused"]["x2face"].startswith("x2face: 2 processes ")
    assert not Method.shares_batches  # whoever adds a method has to say that it does


def test_what_is_exchanged_is_of_all_processes(two):
    for rank in (0, 1):
        found = two[rank]["exchanged"]
        torch.testing.assert_close(found["gradients"], (torch.tensor([1.5, 3.0, 4.5]), torch.full((2, 2), 0.5)))
        assert found["gathered"].tolist() == [[0, 7], [1, 7]] and found["mean"] == {"a": 0.5, "b": 2.0}
        assert found["anywhere"] == (True, False) and found["first"] == (rank == 0)
        assert found["share"] == [[0, 1, 2], [3, 4, 5]][rank]


def test_alone_nothing_is_exchanged(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    distributed.start()
    assert not torch.distributed.is_initialized() and (distributed.rank(), distributed.world()) == (0, 1)
    assert distributed.share(3) == range(3) and distributed.mean({"a": 1.0}) == {"a": 1.0} and not distributed.anywhere(False)
    with pytest.raises(InputError, match="as it was"), distributed.together():
        raise InputError("as it was")


def test_more_processes_than_gpus_are_refused_before_they_wait_for_each_other(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_: pytest.fail("waits"))
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"process 2 .*\b1\b"):
        distributed.start()


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 3)
    with pytest.raises(InputError, match=r"batch of 8 .*3"):
        distributed.share(8)


@pytest.mark.parametrize("name", ["ff", "ft", "pix2pixhd"])
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_a_batch_in_parts_gives_the_losses_and_weights_of_the_whole(name, micro_batch):
    assert_close(learnt(name, micro_batch=micro_batch), learnt(name))


def test_no_more_episodes_than_asked_for_pass_a_network_at_a_time():
    ft, seen = method("ft", micro_batch=2), []
    for net in (ft.E, ft.G, ft.D):
        net.register_forward_hook(lambda net, given, made: seen.append((type(net).__name__, len(given[0]))))
    ft.learn(episode(0, [0, 1, 2]))
    assert [n for name, n in seen if name == "Generator"] == [2, 1]
    assert max(n for name, n in seen if name == "Embedder") == 4 and max(n for name, n in seen if name == "Discriminator") == 4


def test_a_batch_in_parts_takes_less_memory_at_a_time():
    from benchmarks.counters import peak_bytes

    def peak(micro_batch):
        ff, batch = method("ff", micro_batch=micro_batch), episode(0, [0, 1, 2, 3, 4, 5, 0, 1])
        ff.learn(batch)
        return peak_bytes(lambda: ff.learn(batch))

    assert peak(1) < 0.5 * peak(8)


def test_spectral_norms_vectors_move_once_an_update_however_many_parts(monkeypatch):
    def moves(micro_batch):
        ff = method("ff", micro_batch=micro_batch, adversarial={"realism": 1.0, "features": 10.0, "start": 0, "d_steps": 1})
        ff.config.adam.__dict__["eps"] = 1e9  # the weights stay, so that u and v show how often they were moved
        ff.learn(episode(0, [0, 1, 2]))
        return [*map(torch.clone, [*ff.E.buffers(), *ff.G.buffers(), *ff.D.buffers()])]

    torch.testing.assert_close(moves(1), moves(8), rtol=0, atol=1e-6)
    assert method("ff", micro_batch=1).E.training


def test_after_an_update_in_parts_the_networks_are_in_training_mode_again():
    ff = method("ff", micro_batch=1)
    ff.learn(episode(0))
    assert all(module.training for net in (ff.E, ff.G, ff.D) for module in net.modules())
