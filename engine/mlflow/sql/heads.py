"""The schema versions of MLflow's database that this package knows.

MLflow names them by Alembic revision. The list is the chain of migrations in MLflow 3.17.2; the release is
the first in which each revision appears, read from the wheels of every minor release from 2.0 to 3.17.
A database stands at the last revision of a release, or between two of them if an upgrade broke off.
"""

from __future__ import annotations

from engine.errors import Side, Unsupported

OLDEST = "2.0"
NEWEST = "3.17"

# Release, then its revisions in the order of migration.
_REVISIONS = """
2.0   97727af70f4d
2.3   3500859a5d39
2.4   7f2a7d5fae7d
2.8   2d6e25af4d3e acf3f17fdcc7
2.13  867495a8f9d4
2.14  5b0e9adcef9c
2.15  4465047574b1
2.17  f5a4f2784254
2.18  0584bdc529eb
3.0   400f98739977 6953534de441
3.2   bda7b8c39065 cbc13b556ace 770bee3ae1dd
3.3   a1b2c3d4e5f6 de4033877273 1a0cddfcaa16
3.4   534353b11cbc 71994744cf8e
3.5   3da73c924c2f bf29a5ff90ea
3.8   1bd49d398cd23
3.9   b7c8d9e0f1a2 5d2d30f0abce c9d4e5f6a7b8 2c33131f4dae d3e4f5a6b7c8
3.10  d0e1f2a3b4c5 c8d9e0f1a2b3 1b5f0d9ad7c1
3.11  e1f2a3b4c5d6 76601a5f987d c3d6457b6d8a
3.12  a5b4c3d2e1f0 ae8bbe7743c9 7d34483879f0
3.13  da6fb0208061
3.14  89d3d66ed43f b7e4c1a90f23
3.15  a8b9c0d1e2f3 c1d2e3f4a5b6 c3d9e7f1a2b4 6f8d9c3b2a1e
3.16  1971f2d9a75b 17e22815139b b7e2c1a4d9f3
3.17  75868b020152 dc11669786a5
"""

# What MLflow 1.x left behind; 97727af70f4d is shared by 1.30 and 2.0.
_TOO_OLD = """
451aebb31d03 90e64c465722 181f10493468 df50e92ffc5e 7ac759974ad8 89d4b8295536 2b4d017a5e9b
cfd24bdc0731 0a8213491aaa 728d730b5ebd 27a6a02d2cf1 84291f40a231 a8c4a736bde6 39d1c3be5f05
c48cb773bb87 bd07f7e963c5 0c779009ac13 cc1f77228345
"""

RELEASES = {
    revision: release
    for release, *revisions in (line.split() for line in _REVISIONS.strip().splitlines())
    for revision in revisions
}


def release_of(revision: str, subject: str) -> str:
    """The MLflow release that a schema revision belongs to.

    Raises:
        Unsupported: the revision is too old, or not known.
    """
    release = RELEASES.get(revision)
    if release is not None:
        return release
    if revision in _TOO_OLD.split():
        raise Unsupported(
            f"the database has a schema of MLflow 1.x ({revision}); {OLDEST} is the oldest that is read",
            side=Side.SOURCE,
            subject=subject,
            remedy="make a copy, run `mlflow db upgrade` on the copy, and migrate from it",
        )
    raise Unsupported(
        f"the database has schema revision {revision!r}, which no MLflow up to {NEWEST} has; "
        "it is not read, so that nothing is misread",
        side=Side.SOURCE,
        subject=subject,
        remedy="update this package, or start the `mlflow server` that fits and give its http:// address",
    )
