"""The page shows its models after the task that uses them; here they come first."""

import os
from pathlib import Path

from pages import blocks_of

text = next(block.text for block in blocks_of("fan-out") if block.file == "app/models.py")
Path("app/models.py").write_text(text)
os.environ["PAGE_FORKS_NOT"] = "1"
