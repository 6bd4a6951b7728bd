"""Damage to the content of valid files: of any bytes, and of the fields of each format."""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from .odd_values import HUGE, NUMBERS, TEXTS

_BYTES_CHANCE = 0.3
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**64, -(2**70), 1e308, 0.5, "", "x", "\x1b[31m", "../x", "/etc/passwd"),
    *([], {}, [[]], {"a": 1}, "n" * 5000, ["a"] * 1000, float("nan"), float("inf"), "\ud800", "=1+1"),
)
_NRRD_VALUES = (
    "", "0", "-1", "nan", "1 1 1", "0 0 0", "-4 5 6", "99999 99999 99999", HUGE, "(nan,0,0) (0,1,0) (0,0,1)",
    "(0,0,0) (0,0,0) (0,0,0)", "(1,0) (0,1)", "none", "ascii", "gzip", "bzip2", "hex", "raw", "double", "block",
    "uchar",
    "3", "4", "65535", "left-anterior-superior", "scanner-xyz", "\x00\xff", "LIST", "../image.nrrd", "/dev/zero",
    "True",
    "MET_DOUBLE", "MET_USHORT", "LOCAL", "inf inf inf", "1e-320 1 1", "1 0 0 0 1 0 0 0 0",
)  # fmt: skip
# Offset, format of the fields of a NIfTI-1 header.
_NIFTI_FIELDS = (
    *((0, "<i"), (40, "<h"), (42, "<h"), (44, "<h"), (46, "<h"), (48, "<h"), (70, "<h"), (72, "<h"), (76, "<f")),
    *(
        (80, "<f"),
        (84, "<f"),
        (88, "<f"),
        (108, "<f"),
        (112, "<f"),
        (116, "<f"),
        (123, "<B"),
        (252, "<h"),
        (254, "<h"),
    ),
    *(
        (256, "<f"),
        (260, "<f"),
        (268, "<f"),
        (280, "<f"),
        (284, "<f"),
        (292, "<f"),
        (312, "<f"),
        (344, "<I"),
        (348, "<I"),
    ),
)
# The same of MGH: version, size, frames, type, whether the position is valid; spacing, directions, centre.
_MGH_FIELDS = (
    *((offset, ">i") for offset in range(0, 28, 4)),
    (28, ">h"),
    *((offset, ">f") for offset in range(30, 90, 4)),
)
_ODD_FLOATS = (0.0, -1.0, 1e-42, 1e38, float("nan"), float("inf"), float("-inf"), 2.0, 352.0, 1e9)
_ODD_INTEGERS = (0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 255, 256, 512, 1024, 32767, -1, -32768, 348, 540, 1536, 2304)
_DICOM_VALUES = ("", "0", "-1", "nan", "nan\\nan", "1e400", "a", "1\\0\\0\\0\\0\\0", "0\\0\\0\\0\\0\\0", "9" * 16,
    "1.2.3", "CT", "SEG",
                 "1\\2\\3\\4", "\x1b", "\u00e9")  # fmt: skip


def damage(random: Random, path: Path) -> str:
    """Damage a file; returns the kind of damage."""
    suffix = path.name.lower()
    data = path.read_bytes()
    packed = data[:2] == b"\x1f\x8b" and random.random() < 0.85
    if packed:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):  # damaged before
            packed = False
    kinds: list[tuple[bool, Callable[[Random, bytes], bytes]]] = [
        (".nii" in suffix, nifti),
        (suffix.endswith((".mgz", ".mgh")), mgh),
        (suffix.endswith((".nrrd", ".mha", ".mhd")), text_header),
        (suffix.endswith((".json", ".jsonl")), json_text),
        (suffix.endswith(".csv"), csv_table),
        (suffix.endswith(".npy"), npy),
        (suffix.endswith((".zip", ".pt")), archive),
        (suffix.endswith(".dcm"), dicom),
    ]
    own = [how for fits, how in kinds if fits]
    how = any_bytes if not own or random.random() < _BYTES_CHANCE else own[0]
    changed = how(random, data)
    path.write_bytes(gzip.compress(changed, 1) if packed else changed)
    return f"{how.__name__}{' within gzip' if packed else ''}"


def any_bytes(random: Random, data: bytes) -> bytes:
    """Flipped, removed, zeroed, repeated or inserted bytes, or other content altogether."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 20))):
        start = random.randrange(max(1, random.choice((len(changed), min(400, len(changed))))))
        end = start + random.choice((1, 4, 100, 5000))
        kind = random.randrange(8)
        if kind == 0:
            del changed[start:]
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:end] = bytes(len(changed[start:end]))
        elif kind == 3:
            changed[start:start] = random.randbytes(end - start)
        elif kind == 4:
            changed += random.randbytes(end - start)
        elif changed:
            changed[min(start, len(changed) - 1)] ^= 1 << random.randrange(8)
    return bytes(changed)


def nifti(random: Random, data: bytes) -> bytes:
    """A field of the header of NIfTI."""
    return _with_odd_fields(random, data, _NIFTI_FIELDS)


def mgh(random: Random, data: bytes) -> bytes:
    """A field of the header of FreeSurfer's MGH."""
    return _with_odd_fields(random, data, _MGH_FIELDS)


def _with_odd_fields(random: Random, data: bytes, fields: tuple[tuple[int, str], ...]) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3))):
        offset, kind = random.choice(fields)
        value = (
            random.choice(_ODD_FLOATS)
            if kind[1] == "f"
            else random.choice(_ODD_INTEGERS) % (256 if kind[1] == "B" else 2**15)
        )
        if kind[1] in "hi" and random.random() < 0.2:
            value = -value
        if offset + 4 <= len(changed):
            struct.pack_into(kind, changed, offset, value)
    return bytes(changed)


def text_header(random: Random, data: bytes) -> bytes:
    """A line of the header of an NRRD file or a MetaImage."""
    blank = data.find(b"\n\n")
    local = data.find(b"LOCAL\n")
    end = blank if data[:4] == b"NRRD" and blank >= 0 else local + 6 if local >= 0 else len(data)
    lines = data[:end].split(b"\n")
    for _ in range(random.choice((1, 1, 2))):
        at = random.randrange(len(lines))
        separator = b":=" if b":=" in lines[at] else b":" if data[:4] == b"NRRD" else b"="
        key, _, value = lines[at].partition(separator)
        odd = random.choice((*_NRRD_VALUES, *NUMBERS, *TEXTS)).encode("utf-8", "surrogatepass")
        kind = random.randrange(6)
        if kind == 0:
            lines[at : at + 1] = []
            lines = lines or [b""]
        elif kind == 1:
            lines.insert(at, lines[at])
        elif kind == 2:
            arguments = value.split() or [b""]
            arguments[random.randrange(len(arguments))] = odd
            lines[at] = key + separator + b" " + b" ".join(arguments)
        else:
            lines[at] = key + separator + b" " + odd
    return b"\n".join(lines) + data[end:]


def json_text(random: Random, data: bytes) -> bytes:
    """A value in a JSON file, or its text."""
    try:
        content = json.loads(data.decode("utf-8").splitlines()[0] if b"\n{" in data else data)
    except (ValueError, IndexError):
        return any_bytes(random, data)
    kind = random.randrange(10)
    if kind == 0:
        return random.choice((
            b"", b"null", b"[]", b"{}", b"1", b'"x"', b"[" * 100_000, b'{"a":' * 50_000, HUGE.encode(),
            b"\xef\xbb\xbf" + data,
            data.decode().encode("utf-16"), data * 2, data + b"\0", b"\xff" + data, b'{"1": "a", "1": "b"}', b"NaN",
        ))  # fmt: skip
    if kind == 1:
        return data.replace(b'"', b"'", 2)
    if kind == 2:
        return data.replace(b": ", b": " + random.choice((HUGE.encode(), b"1e999", b"-", b"NaN")) + b" ", 1)
    for _ in range(random.choice((1, 1, 2))):
        _change_inside(random, content)
    return json.dumps(content).encode()


def _change_inside(random: Random, content: Any) -> None:
    """Change one value somewhere in lists and dictionaries."""
    while isinstance(content, (dict, list)) and content:
        key = random.choice(list(content)) if isinstance(content, dict) else random.randrange(len(content))
        inner = content[key]
        if isinstance(inner, (dict, list)) and inner and random.random() < 0.8:
            content = inner
            continue
        kind = random.randrange(5)
        if kind == 0:
            del content[key]
        elif kind == 1 and isinstance(content, list):
            content.append(inner)
        elif kind == 1:
            content[random.choice(TEXTS)[:50]] = inner
        elif kind == 2 and isinstance(inner, (int, float)):
            content[key] = inner + random.choice((1, -1, 0.5, 1e-7, 1000))
        else:
            content[key] = random.choice(_ODD_VALUES)
        return


def csv_table(random: Random, data: bytes) -> bytes:
    """A cell, a row or a column of a table, or its text."""
    kind = random.randrange(10)
    if kind == 0:
        text = data.decode("utf-8", "replace")
        return random.choice((
            b"", b"\n", b"\0" * 50, text.encode("utf-16"), b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r"),
            data.replace(b",", b";"), data.replace(b",", b"\t"), data + b'"', data.replace(b"\n", b"\r\n"), data * 3,
            data.splitlines(True)[0] if data else b"", b'"' + b"x" * 200_000, data + b"\xff\xfe,\xe9\n",
        ))  # fmt: skip
    rows = list(csv.reader(io.StringIO(data.decode("utf-8", "replace"), newline=""))) or [[""]]
    for _ in range(random.choice((1, 1, 2))):
        row = random.choice(rows) if random.random() < 0.9 else rows[0]
        at = random.randrange(len(row)) if row else 0
        kind = random.randrange(8)
        if kind == 0:
            rows.append(list(row))
        elif kind == 1 and len(rows) > 1:
            rows.remove(row)
        elif kind == 2:
            row.append(random.choice(TEXTS))
        elif kind == 3 and row:
            del row[at]
        elif row:
            row[at] = random.choice((*TEXTS, *NUMBERS, *[cell for other in rows for cell in other]))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape" if random.random() < 0.5 else "replace")


def npy(random: Random, data: bytes) -> bytes:
    """Type, order or shape in the header of an array."""
    end = data.find(b"\n") + 1
    header = data[:end]
    for _ in range(random.choice((1, 1, 2))):
        old, new = random.choice((
            (b"(", b"(" + random.choice((b"-1, ", b"0, ", b"99999999999, ", b"'a', ", b"(", b"1, " * 70))), (b"'<",
            b"'>"),
            (b"|u1", b"|O"), (b"<i2", b"|O"), (b"<f4", b"<f8"), (b"|b1", b"|u1"), (b"|b1", b"|O"), (b"False",
            b"True"),
            (b"descr", b"descx"), (b"<", b"<U"), (b"\x93", b"\x94"), (b"\x01\x00", b"\x09\x00"), (b"{",
            b"__import__('os').abort() {"),
        ))  # fmt: skip
        header = header.replace(old, new, 1)
    changed = header[:end].ljust(end, b" ") if random.random() < 0.7 else header
    return changed + data[end:]


def archive(random: Random, data: bytes) -> bytes:
    """An entry of an archive: its name, its content, its kind, or a copy; or the directory."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            entries = [(info.filename, source.read(info)) for info in source.infolist()]
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError):
        return any_bytes(random, data)
    method = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    at = random.randrange(len(entries))
    name, content = entries[at]
    kind = random.randrange(8)
    if kind == 0:
        entries[at] = (
            random.choice(("../x", "/tmp/x", "a/../../x", "x" * 3000, "\x1b", "C:\\x", name.upper(), "dir/")),
            content,
        )
    elif kind == 1:
        entries.append((random.choice(("../x", "extra", name + "/")), content))
    elif kind == 2:
        del entries[at]
    elif kind == 3:
        entries[at] = name, bytes(200_000_000 if random.random() < 0.1 else 300_000)
    elif kind in (4, 5) and entries:
        at = (
            [name for name, _ in entries].index("task.json")
            if any(name == "task.json" for name, _ in entries)
            else at
        )
        entries[at] = entries[at][0], json_text(random, entries[at][1])
    elif kind == 6:
        entries[at] = name, npy(random, content) if name.endswith(".npy") else any_bytes(random, content)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as target:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            if kind == 7 and random.random() < 0.5:
                info.external_attr = 0o120777 << 16  # a symbolic link
            target.writestr(info, content)
    return packed.getvalue()


def dicom(random: Random, data: bytes) -> bytes:
    """An element of a DICOM file: another value, no value, or cut off."""
    import warnings

    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = pydicom.dcmread(io.BytesIO(data))
            for _ in range(random.choice((1, 1, 2, 3))):
                elements = [element for element in (*file, *file.file_meta) if element.VR != "SQ"]
                element = random.choice(elements)
                home = file.file_meta if element.tag.group == 2 else file
                kind = random.randrange(5)
                if kind == 0:
                    del home[element.tag]
                elif element.tag == 0x7FE00010:
                    element.value = (
                        element.value[: random.choice((0, 1, 7, 100))] + b"\0\0"[: random.choice((0, 1, 2))]
                    )
                elif element.VR in ("US", "SS", "UL", "SL"):
                    element.value = random.choice((0, 1, 2, 3, 7, 8, 12, 15, 16, 32, 255, 32767))
                elif element.VR in ("FD", "FL"):
                    element.value = random.choice(_ODD_FLOATS)
                elif isinstance(element.value, bytes):
                    element.value = random.randbytes(10)
                else:
                    values = random.choice(_DICOM_VALUES)
                    home[element.tag] = pydicom.dataelem.RawDataElement(
                        element.tag, element.VR, len(values), values.encode("latin-1", "replace"), 0, False, True
                    )
            written = io.BytesIO()
            file.save_as(written, enforce_file_format=False)
        except Exception:
            return any_bytes(random, data)
        return written.getvalue()
