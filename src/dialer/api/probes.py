"""`/healthz` and `/readyz`: health checks for process managers and load balancers. No key is needed."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from dialer import wiring
from dialer.api.errors import documented

router = APIRouter(tags=["Probes"])


class Health(BaseModel):
    status: str


@router.get("/healthz", responses=documented(431))
async def healthz() -> Health:
    """Return 200 while the process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses=documented(431, 503))
def readyz(request: Request) -> Health:
    """Check whether requests can be answered: Postgres, its migrations, Redis."""
    wiring.check(request.app.state.context)
    return Health(status="ready")
