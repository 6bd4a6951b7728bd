"""Identification of files that cannot be read as an image, with advice on how to convert them."""

from __future__ import annotations

from pathlib import Path

from .voxel_stream import read_head

_HEAD_BYTES = 4096
# First bytes of a file, and its description in the message that the file cannot be read as an image.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "it is a placeholder of Git LFS; download the file itself with: git lfs pull"),
    (b"/annex/objects", "it is a placeholder of git-annex; download the file itself with: datalad get"),
    (b"NRRD00", "it is an NRRD file compressed as a whole; decompress it with gunzip"),
    (b"%PDF", "it is a PDF document"),
    (b"\x89HDF", "it is an HDF5 file; convert MINC 2 with mnc2nii, other files with the program that wrote them"),
    (b"CDF\x01", "it is a MINC 1 file; convert it with mnc2nii"),
    (b"MATLAB 5.0", "it is a MATLAB file; save the array as NIfTI with niftiwrite"),
    (b"\x93NUMPY", "it is a NumPy array, which has no spacing; save it as NIfTI with nibabel"),
    (b"PK\x03\x04", "it is a zip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive; unpack it"),
    (b"Rar!", "it is a RAR archive; unpack it"),
    (b"\xfd7zXZ", "it is compressed with xz; decompress it"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with Zstandard; decompress it"),
    (b"\x04\x22\x4d\x18", "it is compressed with LZ4; decompress it"),
    (b"\x1f\x9d", "it is compressed with compress (.Z); decompress it with gunzip"),
    (b"<MRML", "it is a 3D Slicer scene; load it in 3D Slicer and save the volume or the segmentation as NRRD"),
    (b"# === DATA DESCRIPTION FILE", "it is a Philips PAR header; convert it with dcm2niix"),
    (b"MATRIX7", "it is an ECAT file; convert it with nibabel or the program that wrote it"),
    (b"!INTERFILE", "it is an Interfile header; convert it with the program that wrote it"),
    (b"<nifti_image", "it is a NIfTI text file (.nia); convert it with nifti_tool"),
    (b"type  = string-attribute", "it is the header of an AFNI data set; convert it with 3dAFNItoNIFTI"),
    (b"# AmiraMesh", "it is an Amira or Avizo file; save it there as NRRD or DICOM"),
    (b"# Avizo", "it is an Amira or Avizo file; save it there as NRRD or DICOM"),
    (b"ZISRAWFILE", "it is a Zeiss microscope file (CZI); save it as NRRD with Fiji"),
    (b"\xda\xce\xbe\x0a", "it is a Nikon microscope file (ND2); save it as NRRD with Fiji"),
    (b"\xff\xff\xfe", "it is a FreeSurfer surface, not an image"),
    (b"ply\n", "it is a surface (PLY), not an image"),
    (b"################################################\n# ITK-SnAP", "it is a label description file of ITK-SNAP"),
    (b"solid ", "it is a surface (STL), not an image"),
    (b"# vtk DataFile", "it is a VTK file without an image"),
    (b"<VTKFile", "it is a VTK XML file; save it as NRRD with 3D Slicer"),
    (b"<?xml", "it is an XML file"),
    (b"SIMPLE  =", "it is a FITS file"),
    (b"\x89PNG", "it is a PNG image; use the volume it was made from"),
    (b"\xff\xd8\xff", "it is a JPEG image; use the volume it was made from"),
    (b"GIF8", "it is a GIF image; use the volume it was made from"),
    (b"II*\x00", "it is a TIFF file without a volume; save the volume as NRRD with 3D Slicer"),
    (b"MM\x00*", "it is a TIFF file without a volume; save the volume as NRRD with 3D Slicer"),
    (b"BM", "it is a BMP image; use the volume it was made from"),
)
# Data files of formats that keep the header in another file.
_DATA_SUFFIXES = (".raw", ".raw.gz", ".zraw", ".rec", ".brik", ".brik.gz")
_WEB_PAGE = "it is a web page that was saved instead of the image; log in and download the image again"
_UNKNOWN = "it is damaged or of an unknown format; convert it to NIfTI or NRRD with 3D Slicer"


def describe_format(path: Path) -> str:
    """Description of an unreadable file and advice for the user, as part of a sentence."""
    head = read_head(path, _HEAD_BYTES)
    if head[128:132] == b"DICM":
        return "it is a DICOM file; use the folder of its series, or convert the folder with dcm2niix"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if path.suffix.lower() == ".mrb" and head.startswith(b"PK"):
        return "it is a 3D Slicer bundle; load it in 3D Slicer and save the volume or the segmentation as NRRD"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature) or start.startswith(signature):
            return kind
    if start[:512].lower().startswith((b"<!doctype html", b"<html")) or b"<html" in start[:512].lower():
        return _WEB_PAGE
    if path.name.lower().endswith(_DATA_SUFFIXES):
        return "it holds voxels without a header; use the file with the header, such as .mhd, .nhdr, .par or .HEAD"
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
