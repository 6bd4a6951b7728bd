"""What a file is that cannot be read as an image, and which program makes an image of it."""

from __future__ import annotations

from pathlib import Path

from .voxel_stream import head_of

_HEAD_BYTES = 4096
# How the content begins -> what it is. The sentence it ends up in tells that it cannot be read as an image.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "it is a placeholder of Git LFS; fetch the file itself with: git lfs pull"),
    (b"/annex/objects", "it is a placeholder of git-annex; fetch the file itself with: datalad get"),
    (b"NRRD00", "it is NRRD that was packed once more; unpack it with gunzip"),
    (b"%PDF", "it is a PDF document"),
    (b"\x89HDF", "it is HDF5; MINC 2 becomes NIfTI with mnc2nii, others with the program that wrote them"),
    (b"CDF\x01", "it is MINC 1; convert it with mnc2nii"),
    (b"MATLAB 5.0", "it is a MATLAB file; save the array as NIfTI with niftiwrite"),
    (b"\x93NUMPY", "it is a NumPy array, which says nothing of spacing; save it as NIfTI with nibabel"),
    (b"PK\x03\x04", "it is a zip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive; unpack it"),
    (b"Rar!", "it is a RAR archive; unpack it"),
    (b"\xfd7zXZ", "it is packed with xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "it is packed with Zstandard; unpack it"),
    (b"################################################\n# ITK-SnAP", "it is ITK-SNAP's list of labels"),
    (b"solid ", "it is a surface (STL), not an image"),
    (b"# vtk DataFile", "it is a VTK file without an image of voxels"),
    (b"<VTKFile", "it is a VTK XML file; save it as NRRD with 3D Slicer"),
    (b"<?xml", "it is an XML file"),
    (b"SIMPLE  =", "it is FITS"),
    (b"\x89PNG", "it is a PNG picture; give the volume it was made of"),
    (b"\xff\xd8\xff", "it is a JPEG picture; give the volume it was made of"),
    (b"GIF8", "it is a GIF picture; give the volume it was made of"),
    (b"II*\x00", "it is a TIFF that is no volume; save it as NRRD with 3D Slicer"),
    (b"MM\x00*", "it is a TIFF that is no volume; save it as NRRD with 3D Slicer"),
    (b"BM", "it is a BMP picture; give the volume it was made of"),
)
_WEB_PAGE = "it is a web page, saved instead of the image; log in and download it again"
_UNKNOWN = "it is damaged, or of a format that is not known; convert it to NIfTI or NRRD with 3D Slicer"


def kind_of(path: Path) -> str:
    """What an unreadable file is, and what to do, as part of a sentence."""
    head = head_of(path, _HEAD_BYTES)
    if head[128:132] == b"DICM":
        return "it is a DICOM file; give the folder of its series, or convert that with dcm2niix"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for signature, kind in _SIGNATURES:
        if head.startswith(signature) or start.startswith(signature):
            return kind
    if start[:512].lower().startswith((b"<!doctype html", b"<html")) or b"<html" in start[:512].lower():
        return _WEB_PAGE
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it"
    if start.startswith((b"{", b"[")):
        return "it is a JSON file"
    if head and _is_text(head):
        return "it is a text file"
    return _UNKNOWN


def _is_text(head: bytes) -> bool:
    try:
        text = head[:1024].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\r\n\t" for character in text)
