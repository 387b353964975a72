"""A checkpoint is either whole or absent."""

import io
import pickle

import pytest
import torch

from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.checkpoint import MANIFEST, Checkpoints, open_checkpoint


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(Folder(tmp_path / "checkpoints"), keep=2)


def save(checkpoints, step):
    sections = {"generator": {"weight": torch.full((3, 2), float(step))}, "empty": {}}
    checkpoints.save(step, sections, {"step": step})


def newest(checkpoints):
    warnings = []
    return checkpoints.newest(warn=warnings.append), warnings


def test_what_was_saved_is_loaded(checkpoints):
    save(checkpoints, 7)
    checkpoint, warnings = newest(checkpoints)
    assert checkpoint.step == 7
    assert checkpoint.progress() == {"step": 7}
    assert torch.equal(checkpoint.load("generator")["weight"], torch.full((3, 2), 7.0))
    assert checkpoint.load("empty") == {}
    assert warnings == []


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("harm", [truncate, flip_a_bit, remove])
@pytest.mark.parametrize("name", ["generator.safetensors", "empty.safetensors", "progress.json", MANIFEST])
def test_a_checkpoint_torn_anywhere_is_passed_over_and_named(checkpoints, harm, name):
    save(checkpoints, 1)
    save(checkpoints, 2)
    harm(checkpoints.folder.local_path / "step-00000002" / name)
    checkpoint, warnings = newest(checkpoints)
    assert checkpoint.step == 1
    assert len(warnings) == 1
    assert "step-00000002" in warnings[0]
    with pytest.raises(UserError, match="step-00000002"):
        checkpoints.open(2)


def test_a_checkpoint_that_holds_a_pickle_is_refused(checkpoints):
    save(checkpoints, 1)
    (checkpoints.folder.local_path / "step-00000001" / "optimizer.pt").write_bytes(pickle.dumps({"lr": 1}))
    checkpoint, warnings = newest(checkpoints)
    assert checkpoint is None
    assert "optimizer.pt" in warnings[0]
    with pytest.raises(UserError, match="pickle"):
        open_checkpoint(checkpoints.folder / "step-00000001")


def test_pruning_keeps_the_newest_and_the_protected(checkpoints):
    for step in range(1, 6):
        save(checkpoints, step)
    checkpoints.prune({2})
    assert checkpoints.steps() == [2, 4, 5]


def test_what_an_extended_run_left_beyond_its_newest_is_deleted(checkpoints):
    for step in range(1, 6):
        save(checkpoints, step)
    checkpoints.delete_after(3)
    assert checkpoints.steps() == [1, 2, 3]


def test_pruning_does_not_count_torn_checkpoints_as_kept(checkpoints):
    for step in (1, 2, 3):
        save(checkpoints, step)
    (checkpoints.folder.local_path / "step-00000003" / MANIFEST).unlink()
    checkpoints.prune(set())
    assert newest(checkpoints)[0].step == 2
    assert 1 in checkpoints.steps()


def test_a_save_that_fails_leaves_the_earlier_checkpoint_good(checkpoints, monkeypatch):
    save(checkpoints, 1)
    original = Folder.create

    def full_disk(self, name):
        if name == "progress.json":
            raise OSError(28, "No space left on device", self.path(name))
        return original(self, name)

    monkeypatch.setattr(Folder, "create", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(checkpoints, 2)
    monkeypatch.undo()
    checkpoint, warnings = newest(checkpoints)
    assert checkpoint.step == 1
    assert "never finished" in warnings[0]
    save(checkpoints, 2)
    assert newest(checkpoints)[0].step == 2


def test_an_unknown_step_is_answered_with_the_known_ones(checkpoints):
    save(checkpoints, 4)
    with pytest.raises(UserError, match="no checkpoint of step 5: there are 4"):
        checkpoints.open(5)


def test_a_checkpoint_is_read_again_before_it_is_passed_over(checkpoints, monkeypatch):
    for step in (1, 2):
        save(checkpoints, step)
    read, faults = Folder.open, iter([True])

    def open_once_wrongly(folder, name):
        file = read(folder, name)
        if name == "generator.safetensors" and next(faults, False):
            content = file.read()
            return io.BytesIO(content[:-1] + bytes([content[-1] ^ 1]))
        return file

    monkeypatch.setattr(Folder, "open", open_once_wrongly)
    said = []
    found = checkpoints.newest(warn=said.append)
    assert found is not None
    assert (found.step, said, next(faults, None)) == (2, [], None)
