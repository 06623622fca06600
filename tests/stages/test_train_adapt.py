"""The stages train and adapt on a made data set, run as DVC runs them but inside this process."""

import io
import json
import sys
from io import BytesIO

import made_faces
import made_params
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small import FT_ONLY, NETWORKS, SETTINGS, Eyes

from eval import generation
from pipeline import driving_pairs
from pipeline.core import stage as core_stage
from pipeline.core.manifest import read_manifest
from pipeline.core.shards import ShardReader
from stages import adapt, train

FF = {**SETTINGS, "steps": 4, "batch": 2, "K": 2, "log_every": 2, "save_every": 2, "networks": NETWORKS,
      "augment": {"flip": True, "gain": 0.1, "hue": 0.0, "stretch": 0.0}}
FLOOR = {"size": 16, "steps": 0, "batch": 1, "K": 1}
LEARN = {"mean": FLOOR, "ff": FF, "ft": {**FF, **FT_ONLY}}
RUN = {"methods": ["ff"], "shots": [1], "train": {"readers": 2}, "cross": {"frames": 2}}


@pytest.fixture(autouse=True)
def eyes(monkeypatch):
    """Frozen features without weights files; the processes of the test keep its thread count."""
    monkeypatch.setattr("model.backbones.perceptual.efflite0", Eyes)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    generation.opened.cache_clear()


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(core_stage, "ROOT", tmp_path)
    monkeypatch.setattr(core_stage, "die_with_parent", lambda _: None)
    made_faces.write(tmp_path / "data", people=5, tested=2)
    made_params.write(tmp_path, RUN, made={"learn": LEARN})
    return tmp_path


def call(stage, root, out, *more):
    paths = [word for name in ("frames", "landmarks", "split") for word in (f"--{name}", str(root / "data" / name))]
    sys.argv = ["stage", "--dataset", "made", *paths, "--out", str(root / out), "--params", str(root / "params.yaml"), *more]
    stage.main()
    return root / out


def trained(root, method, out):
    return call(train, root, out, "--method", method)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def frames(folder):
    index, reader = pd.read_parquet(folder / "index.parquet"), ShardReader(folder)
    images = [np.asarray(Image.open(BytesIO(reader.read(r.shard, r.offset, r.length, r.crc)))) for r in index.itertuples()]
    return index, np.stack(images)


@pytest.mark.parametrize("method", ["mean", "ft"])
def test_training_again_gives_the_same_bytes_weights_log_and_manifest(method, root):
    one, two = (contents(trained(root, method, out)) for out in ("one", "two"))
    assert one == two
    assert {"weights.safetensors", "manifest.json", "log/metrics.json", "log/plots/metrics/images.tsv"} <= one.keys()
    videos = len(pd.read_parquet(root / "data/split/train.parquet")) * (2 if method == "ft" else 1)  # mirrored ones too
    assert read_manifest(root / "one", "model")["facts"] == {"size": 16, "num_videos": videos}


def test_the_log_has_a_row_for_each_interval_and_no_clock(root):
    folder = trained(root, "ff", "model")
    table = pd.read_csv(folder / "log/plots/metrics/l_cnt.tsv", sep="\t")
    assert list(table.columns) == ["step", "l_cnt"] and table["step"].tolist() == [2, 4]
    summary = json.loads((folder / "log/metrics.json").read_text())
    assert {"l_cnt", "l_dsc", "e_hat", "spread"} <= summary.keys() and summary["images"] == 8


def test_on_a_full_disk_training_goes_on_and_its_log_is_written_when_there_is_room_again(root, monkeypatch, capsys):
    from dvclive import Live

    from model.training import checkpoint

    whole, write, left = contents(trained(root, "ff", "one")), Live.log_metric, [0, 0]

    def full(self, name, value):
        write(self, name, value)
        if left:
            left.pop()
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Live, "log_metric", full)
    monkeypatch.setattr(checkpoint, "PAUSES", ())
    monkeypatch.setattr(checkpoint, "save_file", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert contents(trained(root, "ff", "two")) == whole
    said = capsys.readouterr().err
    about = [line for line in said.splitlines() if "No space left on device" in line]
    assert sum("checkpoint" not in line for line in about) == 1 < len(about)  # the log is said once


def test_a_stderr_that_takes_nothing_ends_no_training(root, monkeypatch):
    class Full(io.StringIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    whole = contents(trained(root, "ff", "one"))
    from dvclive import Live

    write, left = Live.log_metric, [0]
    monkeypatch.setattr(Live, "log_metric", lambda *given: Full().write(left.pop()) if left else write(*given))
    monkeypatch.setattr(sys, "stderr", Full())
    assert contents(trained(root, "ff", "two")) == whole and not left


def test_an_interrupted_training_goes_on_and_ends_with_the_same_bytes(root, monkeypatch):
    whole = contents(trained(root, "ff", "one"))
    read = train.reader

    def interrupted(*args):
        episode, who = read(*args)

        def until(step):
            if step == 3:
                raise KeyboardInterrupt
            return episode(step)

        return until, who

    monkeypatch.setattr(train, "reader", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(root, "ff", "two")
    assert list((root / "work/train").rglob("checkpoint-00000002/state.json"))
    monkeypatch.setattr(train, "reader", read)
    assert contents(trained(root, "ff", "two")) == whole


def test_adapt_draws_every_hold_out_frame_once_and_again_the_same_bytes(root):
    trained(root, "ft", "model")
    given = ("--method", "ft", "--shots", "2", "--model", str(root / "model"))
    one, two = (call(adapt, root, out, *given) for out in ("one", "two"))
    assert contents(one) == contents(two)
    index, images = frames(one)
    subjects = json.loads((root / "data/split/test.json").read_text())
    assert list(zip(index["person"], index["row"])) == [(s["person"], row) for s in subjects for row in s["holdout"]]
    assert images.shape == (len(index), 16, 16, 3) and images.dtype == np.uint8
    manifest = read_manifest(one, "images")
    assert (manifest["label"], manifest["driven_by"], manifest["shots"]) == ("Ours-FT", "landmarks", 2)


@pytest.mark.parametrize(("kind", "slurm"), [("local", {}), ("slurm", {"cluster": "local"})])
def test_people_learnt_by_workers_side_by_side_are_the_same_bytes_on_any_engine(root, kind, slurm):
    blind = {**LEARN["ft"], "content": {**FF["content"], "perceptual": 0.0}}  # a worker has no stand-in of its own
    def adapted(out, engine):
        made_params.write(root, {**RUN, "adapt": {"engine": engine}}, made={"learn": {**LEARN, "ft": blind}})
        given = ("--method", "ft", "--shots", "2", "--model", str(root / "model"))
        return contents(call(adapt, root, out, *given))

    made_params.write(root, RUN, made={"learn": {**LEARN, "ft": blind}})
    trained(root, "ft", "model")
    alone = adapted("alone", {"kind": "local", "workers": 1, "slurm": {}})
    assert adapted("together", {"kind": kind, "workers": 2, "slurm": slurm}) == alone


def test_people_learnt_before_an_interruption_are_not_learnt_again(root, monkeypatch):
    trained(root, "mean", "model")
    given = ("--method", "mean", "--shots", "2", "--model", str(root / "model"))
    whole = contents(call(adapt, root, "one", *given))
    monkeypatch.setattr(generation, "pack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        call(adapt, root, "two", *given)
    monkeypatch.undo()
    monkeypatch.setattr(core_stage, "ROOT", root)
    monkeypatch.setattr(core_stage, "die_with_parent", lambda _: None)
    monkeypatch.setattr("model.methods.mean.Mean.adapt", lambda *_: pytest.fail("learnt again"))
    assert contents(call(adapt, root, "two", *given)) == whole


def test_a_person_taken_down_after_an_interruption_is_not_drawn(root, monkeypatch):
    trained(root, "mean", "model")
    given = ("--method", "mean", "--shots", "2", "--model", str(root / "model"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(generation, "pack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        call(adapt, root, "one", *given)
    generation.opened.cache_clear()
    gone, left = [subject["person"] for subject in json.loads((root / "data/split/test.json").read_text())]
    (root / "data/takedown.txt").write_text(f"{gone}\n")
    folder = call(adapt, root, "one", *given)
    assert {*pd.read_parquet(folder / "index.parquet")["person"]} == {left}
    assert not len(pd.read_parquet(folder / "cross.parquet"))


def test_each_person_is_also_drawn_as_the_next_one_drives_and_such_frames_stand_in_an_index_of_their_own(root):
    trained(root, "ft", "model")
    folder = call(adapt, root, "one", "--method", "ft", "--shots", "2", "--model", str(root / "model"))
    subjects = json.loads((root / "data/split/test.json").read_text())
    driven, reader = pd.read_parquet(folder / "cross.parquet"), ShardReader(folder)
    due = [(a["person"], b["person"], row) for a, b in zip(subjects, subjects[::-1]) for row in b["holdout"][:2]]
    assert list(zip(driven["person"], driven["driver"], driven["row"])) == due
    assert read_manifest(folder, "images")["cross"] == {"drivers": 1, "frames": 2}
    cell = generation.Cell(*(root / "data" / name for name in ("frames", "landmarks", "split")), root / "model",
                           2, 0, driving_pairs.Config(drivers=1, frames=2), root / "work")
    method, faces = generation.opened(cell)
    sources = subjects[0]["sources"][:2]
    head = method.adapt(torch.from_numpy(faces.images(sources)), torch.from_numpy(faces.poses(sources)), 0)
    drawn = generation.eight_bit(head(torch.from_numpy(faces.poses(subjects[1]["holdout"][:2]))))
    for place, image in zip(driven.to_dict("records")[:2], drawn):
        with Image.open(BytesIO(reader.read(*(place[key] for key in ("shard", "offset", "length", "crc"))))) as found:
            assert np.array_equal(np.asarray(found), image) and found.info["synthetic"] == "true"


def test_mean_at_one_shot_is_the_source_frame_to_the_last_of_8_bits(root):
    trained(root, "mean", "model")
    index, images = frames(call(adapt, root, "one", "--method", "mean", "--shots", "1", "--model", str(root / "model")))
    from pipeline.episodes import Faces
    faces = Faces(root / "data/frames", root / "data/landmarks", root / "data/split", 16)
    for subject in faces.subjects:
        source = faces.raw(subject.sources[0])
        assert all(np.array_equal(image, source) for image in images[index["person"] == subject.person])


def test_eight_bits_are_rounded_to_the_nearest():
    values = torch.tensor([0.0, 0.4, 0.6, 254.4, 254.6, 255.0]).div(255)[None, None, None].expand(1, 3, 1, 6)
    assert generation.eight_bit(values)[0, 0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]


def test_a_frame_that_cannot_be_read_is_refused_as_the_loop_tells_it_to_all_processes(root):
    from model.api import load
    from pipeline.core.errors import InputError
    from pipeline.episodes import Faces

    faces = Faces(*(root / "data" / name for name in ("frames", "landmarks", "split")), 16)
    for shard in (root / "data/frames").glob("*.tar"):
        shard.write_bytes(bytes(shard.stat().st_size))
    read, _ = train.reader(faces, load("ff").Config.model_validate(FF), 0, "params/made.yaml: learn.ff")
    with pytest.raises(InputError, match=r"\.tar.*\bcrc\b"):
        read(0)


def test_more_shots_than_source_frames_are_refused(root):
    trained(root, "mean", "model")
    with pytest.raises(ValueError, match=r"shots: 9 .*\bp\d\b"):
        call(adapt, root, "one", "--method", "mean", "--shots", "9", "--model", str(root / "model"))


def test_weights_hold_what_adapt_needs_and_no_column_of_w(root):
    weights = load_file(trained(root, "ft", "model") / "weights.safetensors")
    assert {name.split(".")[0] for name in weights} == {"E", "G", "D"} and not any(name.startswith("D.W") for name in weights)
    assert {name.split(".")[0] for name in load_file(trained(root, "ff", "ff") / "weights.safetensors")} == {"E", "G"}
