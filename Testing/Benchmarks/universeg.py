"""UniverSeg as this program computes it beside the authors' own code: seconds, memory and the largest difference.

Both run in one process, in turn, on the same random weights and images of 128 x 128 pixels; the best of several runs
counts, because a busy machine only ever makes a run longer. Memory is what one call adds to a fresh process.

    python Testing/Benchmarks/universeg.py --reference DIR [--supports 8 64] [--repeats 5] [--threads 2]

DIR is a checkout of JJGO/UniverSeg; the packages it needs (einops, pydantic) must be installed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import torch
from fewshot_annotate.engines.in_context.base import Network
from fewshot_annotate.engines.in_context.universeg import OfficialNetwork
from fewshot_annotate.engines.in_context.universeg_network import SIDE, UniverSegNet, state_shapes
from measured import run_measured
from rich.console import Console
from rich.table import Table

CPU = torch.device("cpu")
IMPLEMENTATIONS: dict[str, Callable[..., Network]] = {"ours": UniverSegNet, "official": OfficialNetwork}


def random_state() -> dict[str, torch.Tensor]:
    """Weights in the official layout."""
    generator = torch.Generator().manual_seed(0)
    return {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in state_shapes().items()}


def random_input(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An image, and labelled images."""
    generator = torch.Generator().manual_seed(1)
    image, images = (torch.rand(shape, generator=generator) for shape in ((SIDE, SIDE), (count, SIDE, SIDE)))
    return image, images, (images > 0.6).float()


def in_turn(nets: dict[str, Network], count: int, repeats: int) -> tuple[dict[str, float], float, float]:
    """Least seconds of each network for an image, seconds that ours takes in the supports, and the difference."""
    image, images, labels = random_input(count)
    began = time.perf_counter()
    encoded = {"ours": nets["ours"].encode_support(images, labels)}
    encoding = time.perf_counter() - began
    encoded["official"] = nets["official"].encode_support(images, labels)
    best: dict[str, float] = {}
    results = {}
    for _ in range(repeats):
        for name, net in nets.items():
            began = time.perf_counter()
            results[name] = net.logits(image, encoded[name])
            spent = time.perf_counter() - began
            best[name] = min(spent, best.get(name, spent))
    difference = (results["ours"] - results["official"]).abs().max() / results["official"].abs().max()
    return best, encoding, float(difference)


def added_mib(implementation: str, count: int) -> float:
    """What showing `count` supports and one image adds to this process's memory, at its peak."""
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    net = IMPLEMENTATIONS[implementation](random_state(), CPU)
    image, images, labels = random_input(1)
    net.logits(image, net.encode_support(images, labels))  # what the first call of all loads is not counted
    image, images, labels = random_input(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net.logits(image, net.encode_support(images, labels))
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit


def measured_apart(implementation: str, count: int, arguments: list[str]) -> float:
    """`added_mib` in a process of its own."""
    lines: list[bytes] = []
    command = [sys.executable, __file__, *arguments, "--memory-of", implementation, "--supports", str(count)]
    _, _, code = run_measured(command, lines.append)
    if code:
        raise RuntimeError(f"the measuring process ended with code {code}")
    return float(lines[0])


def main() -> None:
    """Print the table, and the ratios on the last line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--reference", required=True, metavar="DIR", type=Path)
    parser.add_argument("--supports", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-of", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sys.path.insert(0, str(chosen.reference))
    warnings.simplefilter("ignore")
    torch.set_num_threads(chosen.threads)
    if chosen.memory_of:
        print(added_mib(chosen.memory_of, chosen.supports[0]), flush=True)
        return
    arguments = ["--reference", str(chosen.reference), "--threads", str(chosen.threads)]
    nets = {name: make(random_state(), CPU) for name, make in IMPLEMENTATIONS.items()}
    table = Table(
        "supports", "official s", "ours s", "ratio", "encoding s", "official MiB", "ours MiB", "share", "difference"
    )
    ratios = {}
    for count in chosen.supports:
        best, encoding, difference = in_turn(nets, count, chosen.repeats)
        ratios[count] = best["official"] / best["ours"]
        mib = {name: measured_apart(name, count, arguments) for name in IMPLEMENTATIONS}
        shown = f"{best['official']:.2f}", f"{best['ours']:.3f}", f"{ratios[count]:.1f}", f"{encoding:.3f}"
        memory = f"{mib['official']:.0f}", f"{mib['ours']:.0f}", f"{mib['ours'] / mib['official']:.2f}"
        table.add_row(str(count), *shown, *memory, f"{difference:.1e}")
    console = Console(width=120)
    console.print(f"UniverSeg, one slice and label of 128 x 128, {chosen.threads} threads of {os.cpu_count()} cores")
    console.print("encoding: of the labelled slices, once for all query slices")
    console.print(table)
    print("ratio " + ", ".join(f"{ratio:.1f} at {count} supports" for count, ratio in ratios.items()))


if __name__ == "__main__":
    main()
