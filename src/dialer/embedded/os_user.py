"""As whom Postgres runs. It refuses root, so under root it must be someone else.

Out: an account, as which its programs are started and to which its files are given. Best is a user namespace, in which
root is called nobody: nothing has to be opened to anyone. Where the system forbids those, Postgres really runs as
nobody, who is let into the data folder and there finds only what is its own. Nothing outside that folder is changed.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dialer.errors import Unavailable

NOBODY = 65534

_RENAMED = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")


@dataclass(frozen=True, slots=True)
class Account:
    """`owner`: whose its files are, as seen from here. `prefix`: before each command. `user`: the uid to change to."""

    owner: int
    prefix: tuple[str, ...] = ()
    user: int | None = None

    def own(self, path: Path) -> None:
        """Give a file or a tree to this account; it may be another's when the rights on this machine have changed."""
        if path.stat().st_uid == self.owner:
            return
        for each in (*path.rglob("*"), path):  # the top last: were this interrupted, it would be done again
            os.chown(each, self.owner, self.owner, follow_symlinks=False)


def account_for(data_dir: Path) -> Account:
    """Choose the account, and let it into `data_dir`; raises `Unavailable` if it cannot get there."""
    if os.geteuid() != 0:
        return Account(os.geteuid())
    if (
        shutil.which("unshare")
        and subprocess.run([*_RENAMED, "true"], capture_output=True, check=False).returncode == 0
    ):
        return Account(0, prefix=_RENAMED)
    _let_in(data_dir)
    return Account(NOBODY, user=NOBODY)


def _let_in(data_dir: Path) -> None:
    try:
        os.chown(data_dir, 0, NOBODY)
        data_dir.chmod(0o710)
        enters = subprocess.run(
            ["test", "-x", data_dir], env={"PATH": os.defpath}, user=NOBODY, group=NOBODY, extra_groups=[], check=False
        )
    except OSError as error:
        raise Unavailable(f"PostgreSQL refuses root, and no other user can be taken here: {error.strerror}") from error
    if enters.returncode != 0:
        raise Unavailable(
            f"PostgreSQL refuses root and so runs as uid {NOBODY}, who cannot reach {data_dir}: "
            "choose a data folder that does not lie in a private one, or run dialer as an ordinary user"
        )
