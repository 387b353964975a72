"""Chinese is cut by processes as by the segmenter itself, whatever becomes of these and whoever asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import rjieba

from lstmgan_dist.corpus import segmentation
from lstmgan_dist.corpus.segmentation import BETWEEN, cut

TEXTS = [
    "我来到北京清华大学。\n他们已经开始研究人工智能！\n" * 3000,
    "明天 are 天气 don't 很好\n" * 5000,
    "好" * 70_000,
]


def waiting() -> list[subprocess.Popen[bytes]]:
    return list(segmentation._POOL._idle.queue)


def test_threads_get_what_the_segmenter_says_from_processes_of_their_own():
    with ThreadPoolExecutor(3) as pool:
        meeting = threading.Barrier(3)

        def together(text: str) -> str:
            meeting.wait()
            return cut(text)

        for _ in range(2):
            assert list(pool.map(together, TEXTS)) == [BETWEEN.join(rjieba.cut(text)) for text in TEXTS]
    assert 1 <= len(waiting()) <= 3


def test_a_process_that_was_killed_costs_nothing_but_its_time():
    cut(TEXTS[0])
    for process in waiting():
        process.kill()
    expected = BETWEEN.join(rjieba.cut(TEXTS[0]))
    assert [cut(TEXTS[0]) for _ in range(5)] == [expected] * 5
    assert any(process.poll() is None for process in waiting())


def test_a_fork_has_processes_of_its_own():
    cut(TEXTS[0])
    ours = waiting()
    if (child := os.fork()) == 0:
        os._exit(17 if not waiting() and cut(TEXTS[1]) == BETWEEN.join(rjieba.cut(TEXTS[1])) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
    assert waiting() == ours
    assert cut(TEXTS[1]) == BETWEEN.join(rjieba.cut(TEXTS[1]))


def test_a_script_without_a_main_guard_runs_once_and_leaves_no_process_behind(tmp_path: Path):
    (tmp_path / "poems.txt").write_text("".join(f"{line}我来到北京清华大学。\n" for line in range(9000)))
    script = tmp_path / "script.py"
    script.write_text(
        "import lstmgan_dist as lstmgan\n"
        "print('begun')\n"
        "lstmgan.prepare('poems.txt', 'corpus', tokenizer='word', segmenter='chinese')\n"
        "from lstmgan_dist.corpus import segmentation\n"
        "print(*(process.pid for process in segmentation._POOL._idle.queue))\n"
    )
    found = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    begun, processes = found.stdout.splitlines()[0], found.stdout.splitlines()[-1].split()
    assert begun == "begun"
    assert found.stdout.count("begun") == 1
    assert processes
    for process in processes:
        assert not is_running(int(process))


def is_running(process: int) -> bool:
    try:
        os.kill(process, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
