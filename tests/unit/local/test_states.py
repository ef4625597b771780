"""The state folder of a local service."""

from __future__ import annotations

from pathlib import Path

from crewline.local import states


def test_what_a_service_keeps_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "state/cloud").mkdir(parents=True)
    (tmp_path / "state/cloud").chmod(0o755)
    with states.held(tmp_path / "state") as state:
        for folder in (state.services, state.objects, state.temporary, state.logs):
            assert folder.stat().st_mode & 0o777 == 0o700, folder
