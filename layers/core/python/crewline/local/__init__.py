"""The local cloud and the front door: what `crewline dev` runs on a laptop."""
