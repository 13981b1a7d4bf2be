"""Make the shipped olfactory bulb sample from the gathered data folder.

    python scripts/make_sample.py [path/to/mob_stahl2016]

The result is what ``napari_stomics.data.samples`` reads. Images and landmark
files are copied as they are; the count matrices are stored as the low and the
high byte of each count, (2, gene, spot) uint8, compressed by xz: a third of the
size of the h5ad files, and not one number changed.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import sys
from pathlib import Path

import numpy as np

SECTIONS = ("Rep11", "Rep12")
ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "src" / "napari_stomics" / "data" / "sample_files" / "olfactory_bulb"


def main() -> None:
    default = Path(os.environ.get("STOMICS_DATA", ROOT.parent / "shared" / "data"))
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else default / "mob_stahl2016"
    OUT.mkdir(parents=True, exist_ok=True)
    meta = {}
    for name in SECTIONS:
        meta[name] = convert(source, name)
        for suffix in ("_HE.jpg", "_landmarks.csv"):
            shutil.copyfile(source / f"{name}{suffix}", OUT / f"{name}{suffix}")
    (OUT / "sections.json").write_text(json.dumps(meta, indent=2) + "\n")
    total = sum(p.stat().st_size for p in OUT.iterdir())
    print(f"{OUT}: {total / 1e6:.2f} MB")


def convert(source: Path, name: str) -> dict[str, object]:
    """Write counts, genes and spots of one section; return what else is known of it."""
    import anndata

    table = anndata.read_h5ad(source / f"{name}.h5ad")
    counts = table.X.toarray().T
    if counts.min() < 0 or counts.max() >= 2**16:
        raise ValueError(f"{name}: counts do not fit into 16 bits")
    planes = np.stack([counts & 0xFF, counts >> 8]).astype(np.uint8)
    with lzma.open(OUT / f"{name}_counts.npy.xz", "wb", preset=9 | lzma.PRESET_EXTREME) as file:
        np.save(file, planes, allow_pickle=False)
    (OUT / f"{name}_genes.txt").write_text("\n".join(table.var_names) + "\n")
    lines = ["spot,x_px,y_px,array_x,array_y,layer"]
    for spot, (x, y), row in zip(
        table.obs_names, table.obsm["spatial"], table.obs.itertuples(), strict=True
    ):
        numbers = (x, y, row.array_x, row.array_y)
        lines.append(",".join([spot, *(repr(float(v)) for v in numbers), str(row.layer)]))
    (OUT / f"{name}_spots.csv").write_text("\n".join(lines) + "\n")
    return {
        "um_per_px": float(table.uns["um_per_px"]),
        "spot_diameter_um": float(table.uns["spot_diameter_um"]),
        "specimen": str(table.uns["specimen_group"]),
        "gene_filter": str(table.uns["gene_filter"]),
    }


if __name__ == "__main__":
    main()
