"""Images per second of the pose search, beside the bound that the matrix products set.

python benchmarks/abinit.py [--torch]

For every case the comparison with the whole first grid alone, and the whole search with all
refinements to radius 31, each beside its arithmetic at the rate of large matrix products.
With ``--torch`` refinements are products of matrices on a processor, too, without numba.
"""

import sys

import torch

from cryodrgn.benchmarking.search import SearchCase
from cryodrgn.benchmarking.timing import product_ceilings
from cryodrgn.devices import choose_device, describe_device, dtype_name
from cryodrgn.kernels import backends

BOX, SECONDS = 64, 2.0


def main() -> None:
    backends.HAS_NUMBA = backends.HAS_NUMBA and "--torch" not in sys.argv
    device = choose_device("auto")
    ceilings = product_ceilings(device, SECONDS)
    rates = ", ".join(f"{name} {rate:,.0f} GFLOP/s" for name, rate in ceilings.items())
    print(f"{describe_device(device)}; products {rates}; box {BOX}; images/s")
    print("shifts ±px  type      grid alone   bound  share  whole search   bound  share")
    for extent in (0.0, 4.0, 10.0):
        for dtype in (torch.float32, torch.bfloat16):
            print(f"{extent:10.0f}  {dtype_name(dtype):8}", end="")
            for num_levels in (0, 4):
                case = SearchCase(BOX, extent, dtype, device, num_levels)
                found, bound = case.images_per_s(SECONDS), case.bound(ceilings)
                print(f"  {found:10,.0f}  {bound:6,.0f}  {100 * found / bound:3.0f} %", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
