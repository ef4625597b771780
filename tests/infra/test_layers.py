import zipfile
from pathlib import Path

import pytest

from crewline import locations
from crewline.errors import BadDeployment

MB = 1_048_576


@pytest.fixture
def archive(tmp_path: Path, node: None) -> Path:
    """A small zip of large files."""
    path = tmp_path / "layer.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for size, name in enumerate(("one", "two", "three", "four", "five", "six"), 1):
            packed.writestr(f"python/{name}/data", bytes(size * MB))
    return path


def test_a_function_that_lambda_would_not_take_is_refused_with_its_largest_packages(archive: Path) -> None:
    from crewline_cdk.archives import Archive
    from crewline_cdk.layers import check_size

    code = sum(path.stat().st_size for path in (locations.FUNCTIONS / "crew").glob("*.py"))
    layers = [Archive(archive, ""), Archive(archive, "")]

    check_size("crew", layers, largest=42 * MB + code)
    with pytest.raises(BadDeployment) as caught:
        check_size("crew", layers, largest=42 * MB + code - 1)
    assert caught.value.message == (
        "The function crew and its layers are 42.0 MB unpacked, and Lambda takes 42.0 MB. The largest packages are "
        "six 12.0 MB, five 10.0 MB, four 8.0 MB, three 6.0 MB, two 4.0 MB. Require less, or give the crews a "
        "container image (image, or crewline deploy --image URI)."
    )


def test_the_limit_is_that_of_lambda(archive: Path) -> None:
    from crewline_cdk.archives import Archive
    from crewline_cdk.layers import check_size

    check_size("crew", [Archive(archive, "")] * 11)
    with pytest.raises(BadDeployment, match=r"are 252\.0 MB unpacked, and Lambda takes 250\.0 MB"):
        check_size("crew", [Archive(archive, "")] * 12)
