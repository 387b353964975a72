"""What runs leave, to be compared."""

from lstmgan_dist.storage import Folder
from lstmgan_dist.training.curves import TENSORBOARD
from lstmgan_dist.training.lease import LEASE
from lstmgan_dist.training.run_log import TIMES


def everything_in(folder) -> dict[str, bytes]:
    """What a run leaves, but for what holds clock times (event files, leases, times) and files that a kill cut off."""
    path = Folder(str(folder)).local_path
    assert path is not None
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not {TENSORBOARD, LEASE, TIMES} & {*file.parts} and file.suffix != ".part"
    }


def final_state(folder) -> dict[str, bytes]:
    """All files of a run, with only the newest checkpoint: a stop adds checkpoints, which pruning may then keep."""
    files = everything_in(folder)
    newest = max(name.split("/")[1] for name in files if name.endswith("/manifest.json"))
    return {name: content for name, content in files.items() if not name.startswith("checkpoints/") or newest in name}
