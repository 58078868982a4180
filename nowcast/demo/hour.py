"""The hour of radar: where it lies, and what is to be said of it."""

from pathlib import Path

ARCHIVE = Path(__file__).with_name("radar.nc")
"""An archive of 12 frames; what may be done with it stands in README.md beside it."""
SOURCE = "Deutscher Wetterdienst, RADKLIM YW, cropped"
"""Who is to be named wherever the hour, or a picture of it, is shown."""
PLACE = "southern Germany"
"""What the grid covers."""
