"""python -m moln.host.supervise guard|run RUN_DIR"""

import sys
from pathlib import Path

from moln.host.supervise.guardian import guard
from moln.host.supervise.supervisor import supervise

mode, run = sys.argv[1], Path(sys.argv[2])
if mode == "guard":
    guard(run)
sys.exit(supervise(run))
