"""python -m moln.host.supervise guard|run|unit RUN_DIR

unit: the supervisor alone, as the main process of a systemd unit: systemd is its guardian.
"""

import sys
from pathlib import Path

from moln.host.supervise.guardian import guard
from moln.host.supervise.supervisor import supervise

mode, run = sys.argv[1], Path(sys.argv[2])
if mode == "guard":
    guard(run)
sys.exit(supervise(run, unit=mode == "unit"))
