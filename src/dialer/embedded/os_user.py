"""The user that Postgres runs as. Postgres refuses to run as root, so under root it needs another user.

The best way is a user namespace in which root has the uid of nobody: no file permission has to change. Where the system
forbids user namespaces, Postgres runs as the real nobody, which gets access to the data folder and owns only its files
there. Nothing outside that folder is changed.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dialer.errors import Unavailable

NOBODY = 65534

_IN_NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")


@dataclass(frozen=True, slots=True)
class OsUser:
    """A user as which programs can be started."""

    owner: int  #: The uid of its files, as this process sees it.
    prefix: tuple[str, ...] = ()  #: To be put before each command.
    uid: int | None = None  #: The uid to switch to; None: that of this process.

    def own(self, path: Path) -> None:
        """Give a file or a tree to this user. It may belong to another if user namespaces were forbidden before."""
        if path.stat().st_uid == self.owner:
            return
        for child in (*path.rglob("*"), path):  # the top last, so that an interrupted run is repeated
            os.chown(child, self.owner, self.owner, follow_symlinks=False)


def os_user_for(data_dir: Path) -> OsUser:
    """Choose the user, and give it access to `data_dir`; raises `Unavailable` if that is impossible."""
    if os.geteuid() != 0:
        return OsUser(os.geteuid())
    if (
        shutil.which("unshare")
        and subprocess.run([*_IN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    ):
        return OsUser(0, prefix=_IN_NAMESPACE)
    _give_access(data_dir)
    return OsUser(NOBODY, uid=NOBODY)


def _give_access(data_dir: Path) -> None:
    try:
        os.chown(data_dir, 0, NOBODY)
        data_dir.chmod(0o710)
        access = subprocess.run(
            ["test", "-x", data_dir], env={"PATH": os.defpath}, user=NOBODY, group=NOBODY, extra_groups=[], check=False
        )
    except OSError as error:
        raise Unavailable(
            f"PostgreSQL refuses to run as root, and another user cannot be used here: {error.strerror}"
        ) from error
    if access.returncode != 0:
        raise Unavailable(
            f"PostgreSQL refuses to run as root and so runs as uid {NOBODY}, which cannot access {data_dir}: "
            "choose a data folder outside private folders, or run dialer as an ordinary user"
        )
