"""A file's bytes come decompressed, to the declared length, or the reason is told in one line."""

import bz2
import gzip

import pytest

from nowcast.readers import content
from nowcast.readers.content import beginning, damage_reported, read_exactly, require_file, unpacked
from nowcast.runtime.errors import UserError

TEXT = bytes(range(256)) * 20
SIZE = len(TEXT)


def read(path, size=SIZE):
    with unpacked(path, "a radar file") as stream:
        return bytes(read_exactly(stream, size, path))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_plain_gzipped_and_bzipped_content_is_told_apart_whatever_the_name(tmp_path, pack):
    (tmp_path / "a.gz").write_bytes(pack(TEXT))
    assert read(tmp_path / "a.gz") == TEXT
    assert beginning(tmp_path / "a.gz", 3) == b"\x00\x01\x02"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_too_few_and_too_many_bytes_are_refused(tmp_path, pack):
    (tmp_path / "a").write_bytes(pack(TEXT))
    with pytest.raises(UserError, match="a is cut short: it contains 5120 of 5121 bytes"):
        read(tmp_path / "a", 5121)
    with pytest.raises(
        UserError, match="a contains more than the 5119 bytes of data that it declares"
    ):
        read(tmp_path / "a", 5119)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_content_that_is_cut_or_altered_anywhere_is_refused(tmp_path, pack):
    packed = pack(TEXT)
    altered = bytearray(packed)
    altered[-5] ^= 1  # in the checksum or right before it
    for part in [packed[:length] for length in range(3, len(packed) - 1)] + [bytes(altered)]:
        (tmp_path / "a").write_bytes(part)
        with pytest.raises(UserError, match="a is damaged or cut short|a is cut short"):
            read(tmp_path / "a")


def test_a_bomb_is_read_no_further_than_it_declares(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(bytes(2**26)))
    with unpacked(tmp_path / "a", "a radar file") as stream:
        with pytest.raises(UserError, match="contains more than the 10 bytes"):
            read_exactly(stream, 10, tmp_path / "a")
        assert stream.tell() < 2**20


def test_what_cannot_be_read_has_no_beginning_and_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "empty").touch()
    for name, message in (
        ("empty", "is empty; a radar file is needed"),
        ("none", "does not exist; give the path of a radar file"),
        (".", "is not a regular file"),
    ):
        assert beginning(tmp_path / name, 10) == b""
        with pytest.raises(UserError, match=message):
            read(tmp_path / name)
    (tmp_path / "mine").write_bytes(TEXT)
    monkeypatch.setattr(content.os, "access", lambda *_: False)
    with pytest.raises(
        UserError, match="mine may not be read by this user; change its permissions"
    ):
        require_file(tmp_path / "mine", "a radar file")


def test_damage_is_told_by_the_first_line_of_its_reason_and_a_user_error_passes():
    with (
        pytest.raises(
            UserError, match="a.gif is damaged or cut short .first line.; fetch it again"
        ),
        damage_reported("a.gif"),
    ):
        raise ValueError("first line\nsecond line")
    with pytest.raises(UserError, match="^as it was$"), damage_reported("a.gif"):
        raise UserError("as it was")
