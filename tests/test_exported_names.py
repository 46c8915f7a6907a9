import re
import subprocess
import sys
from pathlib import Path

import pytest

import cryodrgn


@pytest.mark.parametrize("name", cryodrgn.__all__)
def test_every_exported_name_leads_to_something_documented(name):
    assert getattr(cryodrgn, name).__doc__
    assert name in dir(cryodrgn)


def test_names_for_type_checkers_are_those_that_are_imported():
    names = re.findall(r"(\w+) as \1\b", Path(cryodrgn.__file__).read_text())
    assert sorted(names) == cryodrgn.__all__


def test_importing_the_package_imports_nothing_else():
    code = "import sys, cryodrgn; print([m for m in sys.modules if m in ('numpy', 'torch')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cryodrgn.nonsense
