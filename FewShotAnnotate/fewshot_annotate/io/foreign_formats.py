"""Identification of files that cannot be read as an image, with advice on how to convert them."""

from __future__ import annotations

from pathlib import Path

from .voxel_stream import read_head

_HEAD_BYTES = 4096
# First bytes of the content, and a description for the message that the file cannot be read as an image.
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
    (b"\x04\x22\x4d\x18", "it is packed with LZ4; unpack it"),
    (b"\x1f\x9d", "it is packed with compress; unpack it with gunzip"),
    (b"<MRML", "it is a scene of 3D Slicer; load it there and save the volume or the segmentation as NRRD"),
    (b"# === DATA DESCRIPTION FILE", "it is the header of Philips PAR/REC; convert it with dcm2niix"),
    (b"MATRIX7", "it is ECAT; convert it with nibabel or the program that wrote it"),
    (b"!INTERFILE", "it is an Interfile header; convert it with the program that wrote it"),
    (b"<nifti_image", "it is NIfTI as text (.nia); convert it with nifti_tool"),
    (b"type  = string-attribute", "it is the header of an AFNI data set; convert it with 3dAFNItoNIFTI"),
    (b"# AmiraMesh", "it is of Amira or Avizo; save it there as NRRD or DICOM"),
    (b"# Avizo", "it is of Amira or Avizo; save it there as NRRD or DICOM"),
    (b"ZISRAWFILE", "it is of Zeiss's microscopes (CZI); save it as NRRD with Fiji"),
    (b"\xda\xce\xbe\x0a", "it is of Nikon's microscopes (ND2); save it as NRRD with Fiji"),
    (b"\xff\xff\xfe", "it is a surface of FreeSurfer, not an image"),
    (b"ply\n", "it is a surface (PLY), not an image"),
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
# Data files of formats that keep the header in another file.
_DATA_SUFFIXES = (".raw", ".raw.gz", ".zraw", ".rec", ".brik", ".brik.gz")
_WEB_PAGE = "it is a web page, saved instead of the image; log in and download it again"
_UNKNOWN = "it is damaged, or of a format that is not known; convert it to NIfTI or NRRD with 3D Slicer"


def describe_format(path: Path) -> str:
    """Description of an unreadable file and advice for the user, as part of a sentence."""
    head = read_head(path, _HEAD_BYTES)
    if head[128:132] == b"DICM":
        return "it is a DICOM file; give the folder of its series, or convert that with dcm2niix"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if path.suffix.lower() == ".mrb" and head.startswith(b"PK"):
        return "it is a bundle of 3D Slicer; load it there and save the volume or the segmentation as NRRD"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature) or start.startswith(signature):
            return kind
    if start[:512].lower().startswith((b"<!doctype html", b"<html")) or b"<html" in start[:512].lower():
        return _WEB_PAGE
    if path.name.lower().endswith(_DATA_SUFFIXES):
        return (
            "it holds voxels without their header; give the file with the header, such as .mhd, .nhdr, .par or .HEAD"
        )
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
