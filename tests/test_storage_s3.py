"""Folders on a real S3 server, and on one that fails; so for drivers.py and pacing.py."""

import dataclasses
import errno
import os
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from lstmgan_dist import objects, storage
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder, content_mark, file_size, matching_files, open_file
from lstmgan_dist.storage_settings import Storage
from tests.servers import READ_ONLY, faulty_proxy, free_port

pytestmark = pytest.mark.slow

# Large enough for three parts, and different everywhere.
LARGE = random.Random(1).randbytes(70 * 2**20)
EVERY_FAULT = (429, 500, 503, "timeout", "reset", "cut", "lost", "page", "spoil", "drip", "moved")


@pytest.fixture
def s3(server):
    with server.as_environment():
        yield server


def test_what_is_written_can_be_read_listed_and_deleted(s3):
    folder = Folder(f"{s3.url}/basics/run")
    assert folder.list() == []
    assert not folder.exists()
    folder.write("b/c.txt", b"text")
    folder.write("a.txt", b"more text")
    folder.write("empty", b"")
    assert folder.list() == ["a.txt", "b", "empty"]
    assert folder.sizes() == {"a.txt": 9, "empty": 0}
    assert (folder / "b").read("c.txt") == b"text"
    assert folder.read("empty") == b""
    assert folder.exists("b")
    assert folder.exists("a.txt")
    assert not folder.exists("a")
    folder.delete("a")
    folder.delete("b")
    folder.delete("b")
    assert folder.list() == ["a.txt", "empty"]
    folder.delete()
    assert s3.objects("basics") == {}


def test_what_other_processes_do_is_seen_at_once(s3):
    folder, other = Folder(f"{s3.url}/shared"), s3.client()
    folder.write("a.txt", b"old")
    assert folder.list() == ["a.txt"]
    other.put_object(Bucket=s3.bucket, Key="shared/a.txt", Body=b"newer")
    other.put_object(Bucket=s3.bucket, Key="shared/b.txt", Body=b"")
    assert folder.list() == ["a.txt", "b.txt"]
    assert folder.size("a.txt") == 5
    assert folder.read("a.txt") == b"newer"
    other.delete_object(Bucket=s3.bucket, Key="shared/a.txt")
    assert not folder.exists("a.txt")


def test_a_large_object_is_sent_in_parts_and_read_in_ranges(s3):
    folder = Folder(f"{s3.url}/large")
    folder.write("at-once", LARGE)
    with folder.create("streamed") as file:
        for start in range(0, len(LARGE), 9_999_999):
            file.write(LARGE[start : start + 9_999_999])
    assert folder.read("at-once") == folder.read("streamed") == LARGE
    with folder.open("streamed") as file:
        file.seek(-10, os.SEEK_END)
        assert file.read() == LARGE[-10:]
        file.seek(40_000_000)
        assert file.read(5_000_000) == LARGE[40_000_000:45_000_000]
        assert file.tell() == 45_000_000
        assert file.read(3) == LARGE[45_000_000:45_000_003]
    assert folder.read_ranges([("streamed", 5, 9), ("at-once", 0, 3)]) == [LARGE[5:9], LARGE[:3]]
    for name in ("at-once", "streamed"):
        assert s3.client().head_object(Bucket=s3.bucket, Key=f"large/{name}")["ETag"].endswith('-3"')
    folder.delete()


@pytest.mark.parametrize("size", [10, 40 * 2**20])
def test_a_write_that_fails_leaves_the_earlier_object_and_no_parts(s3, size):
    folder = Folder(f"{s3.url}/failed")
    folder.write("a.txt", b"good")

    def fail_half_way():
        with folder.create("a.txt") as file:
            file.write(LARGE[:size])
            raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        fail_half_way()
    assert folder.read("a.txt") == b"good"
    assert s3.unfinished_uploads() == []


def test_threads_write_read_and_fail_side_by_side(s3):
    folder = Folder(f"{s3.url}/threads")

    def work(number):
        content = f"{number} ".encode() * 1000
        for _ in range(5):
            if number % 3 == 0:
                with suppress(KeyError), folder.create(f"{number}.txt") as file:
                    file.write(content)
                    raise KeyError
            else:
                with folder.create(f"{number}.txt") as file:
                    file.write(content[:10])
                    time.sleep(0.001)
                    file.write(content[10:])
                assert folder.read(f"{number}.txt") == content

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    assert folder.list() == sorted(f"{number}.txt" for number in range(12) if number % 3)


def test_files_are_found_by_address_folder_and_glob(s3):
    folder = Folder(f"{s3.url}/texts")
    for name in ("b.txt", "a.txt", "c.md", "deep/d.txt"):
        folder.write(name, name.encode())
    assert matching_files(f"{folder}/a.txt") == [f"{folder}/a.txt"]
    assert matching_files(f"{folder}/*.txt") == [f"{folder}/a.txt", f"{folder}/b.txt"]
    assert matching_files(str(folder)) == [f"{folder}/{name}" for name in ("a.txt", "b.txt", "c.md", "deep/d.txt")]
    assert matching_files(f"{folder}/absent") == []
    assert file_size(f"{folder}/deep/d.txt") == 10
    with open_file(f"{folder}/a.txt") as file:
        assert list(file) == [b"a.txt"]
    before = content_mark(f"{folder}/a.txt")
    assert content_mark(f"{folder}/a.txt") == before
    folder.write("a.txt", b"other")
    assert content_mark(f"{folder}/a.txt") != before


def test_small_operations_take_few_requests(server):
    with faulty_proxy(server, share=0) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/few")

        def requests(action, *arguments):
            before = proxy.requests
            action(*arguments)
            return proxy.requests - before

        assert requests(folder.write, "a", b"text") == 1
        assert requests(folder.exists, "a") == 1
        assert requests(folder.sizes) == 1
        assert requests(folder.read, "a") == 2
        assert requests(folder.delete, "a") == 2
        assert requests(folder.check_writable) == 3


# --- faults ----------------------------------------------------------------------------------------------------------


def test_nothing_is_lost_when_one_request_in_four_fails_in_any_way(server):
    with faulty_proxy(server, share=0.25, seed=2, kinds=EVERY_FAULT) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/faults", Storage(timeout=1))
        folder.check_writable()
        contents = {f"{number}.bin": LARGE[number * 1000 : number * 3000] for number in range(24)}

        def write_and_read(name):
            folder.write(name, contents[name])
            assert folder.read(name) == contents[name]
            assert folder.exists(name)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write_and_read, contents))
        assert folder.sizes() == {name: len(content) for name, content in contents.items()}
        (folder / "0.bin").delete()
        folder.delete("1.bin")
        assert set(proxy.injected) == set(EVERY_FAULT)
        proxy.fail(0)
        assert server.objects("faults") == {
            f"faults/{name}": content for name, content in contents.items() if name not in ("0.bin", "1.bin")
        }
        folder.delete()
        assert server.objects("faults") == {}


@pytest.mark.parametrize("kind", [503, "timeout", "reset", "cut", "lost", "page", "spoil"])
def test_objects_in_parts_survive_every_kind_of_fault(server, kind, monkeypatch):
    monkeypatch.setattr(storage, "_PART_BYTES", 5 * 2**20)
    monkeypatch.setattr(objects, "_READ_BYTES", 4 * 2**20)
    content = LARGE[: 13 * 2**20]
    with faulty_proxy(server, share=0.2, seed=4, kinds=[kind]) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/large-faults", Storage(timeout=1))
        folder.write("at-once", content)
        with folder.create("streamed") as file:
            file.write(content)
        assert folder.read("streamed") == content
        assert folder.read("at-once") == content
        assert proxy.injected[kind]
    if kind not in ("cut", "lost"):  # nobody can end an upload whose name got lost
        assert server.unfinished_uploads() == []


def test_an_end_of_patience_names_the_address_and_the_reason(server):
    reasons = {
        503: "the storage answers 503",
        500: "the storage answers 500",
        "timeout": "gives no answer within 0.5 s",
        "reset": "cannot be reached",
    }
    for kind, reason in reasons.items():
        with faulty_proxy(server, share=0, kinds=[kind]) as proxy, proxy.as_environment():
            folder = Folder(f"{server.url}/broken", Storage(timeout=0.5, patience=1))
            folder.write("earlier.txt", b"good")
            proxy.fail(1)
            for action in (
                lambda folder=folder: folder.write("a.txt", b"text"),
                lambda folder=folder: folder.read("earlier.txt"),
            ):
                with pytest.raises(OSError, match=reason) as raised:
                    action()
                tried = re.search(r"tried (\d+) times", str(raised.value.strerror))
                assert tried
                assert 1 < int(tried[1]) < 8  # a second's patience, with waits that double from 0.2 s
                assert raised.value.filename.startswith(f"{server.url}/broken/")
            proxy.fail(0)
            assert folder.list() == ["earlier.txt"]


@pytest.mark.parametrize(
    ("kind", "reason", "reading"),
    [
        ("cut", "the connection breaks in the middle of an answer", "a file"),
        ("short", r"(the storage gives [\d,]+ bytes of [\d,]+|an answer does not match its checksum)", "ranges"),
    ],
)
def test_an_answer_that_is_never_whole_is_asked_for_as_long_as_patience_lasts(server, kind, reason, reading):
    content = LARGE[: 2**20]
    with faulty_proxy(server, share=0, kinds=[kind]) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/half-answers", Storage(timeout=2, patience=3))
        folder.write("a.bin", content)
        file = folder.open("a.bin")

        def read():
            if reading == "a file":
                return file.read() == content
            return folder.read_ranges([("a.bin", 0, 1000), ("a.bin", 50, 90)]) == [content[:1000], content[50:90]]

        proxy.fail(1)
        with pytest.raises(OSError, match=rf"{reason} \(tried \d+ times in [3-9] s\)") as raised:
            read()
        assert str(raised.value.filename).startswith(f"{server.url}/half-answers")
        timer = threading.Timer(1, proxy.fail, [0])
        timer.start()
        assert read()
        timer.join()


@pytest.mark.parametrize(
    ("kind", "reason", "reads"),
    [
        ("page", "what answers is not S3 but sends text/html, as a login page would be", True),
        ("spoil", "(the storage has stored something else than what was sent|does not match its checksum)", False),
        ("drip", "(gives no answer within 3 s|the connection breaks in the middle of an answer)", True),
    ],
)
def test_what_is_not_there_is_not_believed(server, kind, reason, reads, monkeypatch):
    monkeypatch.setattr(storage, "_PART_BYTES", 5 * 2**20)
    content, other = LARGE[: 6 * 2**20], LARGE[6 * 2**20 : 12 * 2**20]
    with faulty_proxy(server, share=0, kinds=[kind]) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/believed-{kind}", Storage(timeout=3, patience=1))
        folder.write("kept.bin", content)

        def create():
            with folder.create("created.bin") as file:
                file.write(other)

        writes = [lambda: folder.write("new.txt", b"text"), lambda: folder.claim("claimed.txt", b"text"), create]
        others = [
            folder.list,
            lambda: folder.read("kept.bin"),
            lambda: folder.read_ranges([("kept.bin", 5, 9)]),
            lambda: folder.size("kept.bin"),
            lambda: folder.exists("absent.bin"),
            lambda: folder.delete("kept.bin"),
            lambda: folder.delete(),
        ]
        proxy.fail(1)

        def told(action):
            with pytest.raises(OSError, match=rf"{reason}.* \(tried \d+ times in [0-9] s\)"):
                action()

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(told, writes + others if reads else writes))
        proxy.fail(0)
        if reads:
            assert folder.sizes() == {"kept.bin": len(content)}
        assert folder.read("kept.bin") == content
        folder.delete()  # with a claim that was spoiled and refused, which nobody can read


def test_an_upload_whose_end_was_answered_by_another_is_not_believed(server, monkeypatch):
    monkeypatch.setattr(storage, "_PART_BYTES", 5 * 2**20)
    content, other = LARGE[: 6 * 2**20], LARGE[6 * 2**20 : 12 * 2**20]
    with faulty_proxy(server, share=0, kinds=["page"]) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/ends", Storage(timeout=3, patience=0.5))
        folder.write("a.bin", content)

        def write():
            with folder.create("a.bin") as file:
                file.write(other[: 5 * 2**20 + 1])
                proxy.fail(1, "POST")
                file.write(other[5 * 2**20 + 1 :])

        with pytest.raises(OSError, match="what answers is not S3"):
            write()
        proxy.fail(0)
        assert folder.read("a.bin") == content


def test_a_storage_that_fails_half_way_through_an_upload_keeps_the_earlier_object(server):
    with faulty_proxy(server, share=0, kinds=[503]) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/half", Storage(timeout=1, patience=1))
        folder.write("a.bin", b"good")

        def write():
            with folder.create("a.bin") as file:
                file.write(LARGE[: 40 * 2**20])
                proxy.fail(1)
                file.write(LARGE[: 40 * 2**20])

        with pytest.raises(OSError, match="answers 503 SlowDown: Please reduce your request rate"):
            write()
        proxy.fail(0)
        assert folder.read("a.bin") == b"good"


def test_a_storage_that_comes_back_is_waited_for(server):
    with faulty_proxy(server, share=0) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/back", Storage(timeout=1, patience=20))
        folder.write("a.txt", b"1")
        proxy.fail(1)
        timer = threading.Timer(2, proxy.fail, [0])
        timer.start()
        folder.write("a.txt", b"2")
        timer.join()
        assert folder.read("a.txt") == b"2"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("expired", "the credentials have expired: renew them"),
        ("skewed", "the clock of this machine is wrong: set it"),
        ("full", "the storage is full, or our share of it: make room there, or have it extended"),
    ],
)
def test_what_waiting_does_not_mend_is_said_at_once(server, kind, said):
    with faulty_proxy(server, share=1, kinds=[kind]) as proxy, proxy.as_environment():
        folder = Folder(f"{server.url}/refused")
        for action in (lambda: folder.write("a.txt", b"text"), lambda: folder.exists("a.txt"), folder.list):
            before = proxy.requests
            with pytest.raises(OSError, match=said):
                action()
            assert proxy.requests - before <= 3, "an answer to HEAD has no room for the reason"
            if kind == "full":
                break  # it lets one read


# --- mistakes --------------------------------------------------------------------------------------------------------


def refused(environment, url, **settings):
    """What check_writable and exists say."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value) if value is not None else patch.delenv(name, raising=False)
        folder = Folder(url, Storage(**settings))
        with pytest.raises(UserError) as written:
            folder.check_writable()
        with pytest.raises(OSError) as read:  # noqa: PT011
            folder.exists("job.yaml")
    sentence = str(written.value)
    assert sentence.startswith(f"{url} cannot be written to: ")
    assert "\n" not in sentence
    assert read.value.strerror
    assert read.value.strerror.split(" (tried ")[0] in sentence
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert environment.get(name) is None or environment[name] not in sentence
    return sentence


def test_wrong_credentials_are_named(strict_server):
    url = f"{strict_server.url}/run"
    assert "does not know this access key" in refused(
        strict_server.environment | {"AWS_ACCESS_KEY_ID": "AKIAWRONG"}, url
    )
    wrong = strict_server.environment | {"AWS_SECRET_ACCESS_KEY": "0123456789-very-secret"}
    assert "secret key does not belong to the access key" in refused(wrong, url)


def test_missing_credentials_are_named_with_what_would_do(strict_server):
    nothing = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    sentence = refused(strict_server.environment | nothing, f"{strict_server.url}/run")
    assert "there are no credentials: set AWS_ACCESS_KEY_ID" in sentence
    assert "no such credentials profile" in refused(
        strict_server.environment, f"{strict_server.url}/run", profile="absent"
    )


def test_a_right_that_lacks_is_named_and_reading_goes_on(strict_server):
    reader = strict_server.add_user("reader", READ_ONLY)
    strict_server.client().put_object(Bucket=strict_server.bucket, Key="readable/a.txt", Body=b"text")
    with dataclasses.replace(strict_server, environment=reader).as_environment():
        folder = Folder(f"{strict_server.url}/readable")
        assert folder.read("a.txt") == b"text"
        with pytest.raises(UserError, match="access is denied: these credentials lack the right"):
            folder.check_writable()
        with pytest.raises(PermissionError, match="access is denied"):
            folder.write("b.txt", b"text")


def test_an_absent_bucket_is_named_and_none_is_made(server):
    before = server.client().list_buckets()["Buckets"]
    assert "there is no such bucket" in refused(server.environment, "s3://no-such-bucket/run")
    assert "no valid name of a bucket" in refused(server.environment, "s3://no_bucket!/run")
    assert server.client().list_buckets()["Buckets"] == before


def test_an_address_that_nobody_listens_at_is_found_out(server):
    port = free_port()
    nobody = server.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    assert f"127.0.0.1:{port} cannot be reached" in refused(nobody, f"{server.url}/run", patience=2)


def test_settings_of_the_job_win_over_the_environment(server, tmp_path, monkeypatch):
    key, secret = (server.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    (tmp_path / "credentials").write_text(f"[mine]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    folder = Folder(f"{server.url}/settings", Storage(endpoint=server.endpoint, profile="mine"))
    folder._filesystem.connect()
    assert folder._filesystem.s3.meta.region_name == "eu-west-3"
    folder.write("a.txt", b"text")
    assert "settings/a.txt" in server.objects()
    server.client().put_object_acl(Bucket=server.bucket, Key="settings/a.txt", ACL="public-read")
    public = Storage(endpoint=server.endpoint, anonymous=True, region="eu-central-1")
    folder = Folder(f"{server.url}/settings", public)
    assert folder.read("a.txt") == b"text"
    assert folder._filesystem.s3.meta.region_name == "eu-central-1"


def test_a_folder_within_another_is_reached_as_that_one_is(server):
    """Two folders of one process, each with a storage of its own."""
    with server.as_environment():
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
        reached = Folder(server.url, Storage(endpoint=server.endpoint))
        unreached = Folder(server.url, Storage(patience=0))
        (reached / "runs" / "within").write("a.txt", b"text")
        with pytest.raises(OSError, match="cannot be reached"):
            (unreached / "runs" / "within").read("a.txt")
        assert (reached / "runs" / "within").read("a.txt") == b"text"


def test_an_absent_file_is_an_answer_and_no_mistake(s3):
    folder = Folder(f"{s3.url}/nothing")
    with pytest.raises(FileNotFoundError) as raised:
        folder.read("a.txt")
    assert raised.value.filename == f"{folder}/a.txt"
    assert raised.value.errno == errno.ENOENT
