"""In which number type networks are computed."""

import pytest
import torch

from cryodrgn.devices import choose_network_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f avx512_bf16 avx512_vnni", torch.bfloat16),
        ("fpu avx512f amx_tile amx_bf16", torch.bfloat16),
        ("fpu avx2 avx512f avx512_vnni amx_tile", torch.float32),
    ],
)
def test_processors_with_units_for_bfloat16_use_them(tmp_path, flags, expected):
    processors = tmp_path / "cpuinfo"
    processors.write_text(f"processor\t: 0\nmodel name\t: some\nflags\t\t: {flags}\n")
    assert choose_network_dtype(CPU, processors) == expected


def test_where_nothing_is_known_of_the_processor_products_are_float32(tmp_path):
    assert choose_network_dtype(CPU, tmp_path / "missing") == torch.float32
    assert choose_network_dtype(torch.device("mps")) == torch.float32
