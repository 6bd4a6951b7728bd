"""Unexpected values for arguments, and unusual names for files."""

from __future__ import annotations

from random import Random

HUGE = "9" * 5000
NUMBERS = (
    "0", "-1", "1.5", "nan", "NaN", "inf", "-inf", "", " ", "1e400", "1e3", "0x10", "1_000", "\u0663", "\u00b2", HUGE,
    f"-{HUGE}", f"0.{HUGE}", "1" * 19, "2147483648", "4294967296", "18446744073709551616", "None", "True", "1,2",
    "--",
    "\ud800", "\udcff\udcfe", "1\n2", "\x1b[2J", "1;2", "%d", "-0", "+1", "1 ",
)  # fmt: skip
TEXTS = (
    "", " ", "auto", "\x1b[31mred\x07", "a\nb", "\udcff\udcfe", "x" * 70_000, "../../etc", "/etc/passwd", "=1+1",
    "%s%n",
    "{path}", "{0.__class__}", "\u202egnp", "na\u00efve", "\U0001f984", "'\"`$(id)", "a=b=c", "NUL", "CON", "-",
    "--", "*",
    "propagate ", "Propagate", "propagate,propagate", ",", "all,propagate", "\u0130", "<b>x</b>", "[bold]x[/bold]",
    "[/]",
)  # fmt: skip
SLICES = (
    "1,4,8", "8,4,1", "1,1,4", "1", "0,1,2,3,4,5,6,7,8,9", "1,,4", ",", "1-4", "1,99", "-1,4", f"1,{HUGE}", "1,nan",
    "1 4", "a", ",".join(["1"] * 20_000), "2,3", "0,9",
)  # fmt: skip
RANGES = (
    "between", "all", "0:10", "2:6", "6:2", "3:3", "-1:4", "0:11", "0:99999", f"0:{HUGE}", f"-{HUGE}:3", "a:b",
    ":", "1:",
    ":4", "1:2:3", "nan:inf", "", "BETWEEN",
)  # fmt: skip
AXES = ("auto", "0", "1", "2", "3", "-1", "00", "k", "axial", "", HUGE, "nan")
SECONDS = ("1", "30", "0", "-1", "nan", "inf", "1e400", "1e-400", HUGE, "", "1s", "1_0", "0.001")
SETTINGS = (
    "a=b", "=b", "a", "", "=", "seed=1", "seed=nan", f"seed={HUGE}", "\x1b=1", "a=\udcff", "implementation=official",
    "propagate.x=1", "propagate.=", ".x=1", "adapt.seed=1", "x" * 5000 + "=1", "device=cpu",
)  # fmt: skip
SERIES = ("1", "2", "0", "-1", HUGE, "001.dcm", "../series/001.dcm", "", "nan", "\udcff", "9.9.9", "1" * 65, "*")
CODES = (
    "left half=liver", "*=liver", "left half=SCT^10200004^Liver", "left half=", "=liver", "nobody=liver", "left half",
    "left half=SCT^^", "left half=^^^^^^", "*=" + "x^" * 3000, "left half=SCT^\x1b^L", "left half=A^1^" + "y" * 200,
    "*=SCT^" + "1" * 80 + "^x", "left half=\udcff^1^x", "left half=S\\T^1^x", "left half=SCT^1^a\\b",
)  # fmt: skip
ENGINES = (
    "propagate",
    "auto ",
    "nothing",
    "",
    "universeg",
    "sam",
    "\x1b[0m",
    "x" * 5000,
    "propagate\n",
    "\udcff",
    "../sam",
)
CHOICES = ("auto", "cpu", "cuda", "mps", "", "CPU", "binary", "labelmap", "CT", "MR", "x", "\x1b", HUGE)
NAMES = (
    *("liver", "new task", "", ".", "..", "../x", "a/b", "/tmp/x", ".hidden", "CON", "nul.txt", "x" * 255, "x" * 256),
    *(
        "x" * 100_000,
        "\x1b[2J",
        "a\nb",
        "\udcff",
        "\u00e9",
        "e\u0301",
        "trail.",
        " lead",
        "a:b",
        "-x",
        "\u202e",
        "LIVER",
    ),
)
TAGS = (
    "ID 1",
    "",
    "x" * 65,
    "Doe^Jane",
    "a\\b",
    "\x1b",
    "\udcff",
    "\u00e9",
    "=^=^=",
    "\u5c71\u7530^\u592a\u90ce",
    "a\nb",
    "^" * 10,
)
KINDS = {
    "number": NUMBERS,
    "text": TEXTS,
    "slices": SLICES,
    "range": RANGES,
    "axis": AXES,
    "seconds": SECONDS,
    "setting": SETTINGS,
    "series": SERIES,
    "code": CODES,
    "engine": ENGINES,
    "choice": CHOICES,
    "name": NAMES,
    "tag": TAGS,
}

# Names that a file system accepts; {} is replaced by the suffix where its position matters.
STEMS = (
    "with blank", "na\u00efve \u00e9", "\u5c71\u7530", "\U0001f984", "\udcff\udcfe", "\x1b[31mred\x07",
    "line\nbreak", "tab\there",
    "\u202egnp", "-o", "--help", "a=b", "%s%n", "{path}", "$(id)", "'\"", "*?", "x.nii.gz", ".hidden", "CON",
    "a;b", "a,b",
    "e\u0301", "[bold]", "back\\slash", " lead", "\u200b", "=1+1", "~",
)  # fmt: skip
_LONGEST_NAME = 255


def odd_value(random: Random, kind: str) -> str:
    """A value of an argument: mostly of its kind, sometimes of another."""
    return random.choice(KINDS[kind] if random.random() < 0.8 else random.choice((NUMBERS, TEXTS)))


def odd_name(random: Random, suffix: str) -> str:
    """A possible but unusual file name."""
    if random.random() < 0.2:
        return "n" * (_LONGEST_NAME - len(suffix)) + suffix
    return random.choice(STEMS) + suffix


def impossible_name(random: Random, suffix: str) -> str:
    """An impossible or very unusual file name."""
    return random.choice(("n" * 256, "n" * 5000, "d/" * 3000, "loop/x", "filled.nii.gz/x")) + suffix
