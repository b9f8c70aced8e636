"""Link the packages of a lock file from another virtual environment into this one.

python tools/link_packages.py VENV LOCK, run by the Python of the environment that takes them. So
both ROS distributions are tested with the very same torch, and its 6 GB lie on the disk once. What
is linked must never be changed by pip: the requirements of ROS are resolved against the same lock.
"""

import re
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path


def main(source_venv: str, lock: str) -> None:
    target = Path(sysconfig.get_path("purelib"))
    source = Path(source_venv).resolve() / target.relative_to(sys.prefix)
    if not source.is_dir():
        sys.exit(f"{source_venv} has no packages for this Python: {source} is not there")

    for old in target.iterdir():
        if old.is_symlink():
            old.unlink()
    locked = set(re.findall(r"^([\w.-]+)==", Path(lock).read_text(), re.MULTILINE))
    for distribution in distributions(path=[str(source)]):
        if re.sub(r"[-_.]+", "-", distribution.name).lower() not in locked:
            continue
        names = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        for name in names:
            if (source / name).exists() and not (target / name).exists():
                (target / name).symlink_to(source / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
