"""A web application that takes documents in and leaves the work to Longhaul.

    uvicorn fastapi_app:app
    curl -F file=@report.pdf http://127.0.0.1:8000/documents
    curl http://127.0.0.1:8000/jobs/job_…

The naive version of this reads, chunks and embeds the document within the request: the client waits for half a minute,
a time-out of any proxy loses the work, and a few uploads at once stop the application. Here the request ends as soon as
the document is on disk.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, File, Header, HTTPException, UploadFile

from longhaul import APIError, AsyncLonghaul


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    """One client for all requests."""
    async with AsyncLonghaul() as longhaul:
        app.state.longhaul = longhaul
        yield


app = FastAPI(title="Documents", lifespan=connected)


@app.post("/documents", status_code=202)
async def upload(
    file: Annotated[UploadFile, File()], idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, Any]:
    """202: the document is safe, and will be read whatever becomes of this process."""
    longhaul: AsyncLonghaul = app.state.longhaul
    try:
        document = await longhaul.documents.upload(
            await file.read(), file_name=file.filename, content_type=file.content_type, idempotency_key=idempotency_key
        )
    except APIError as error:
        raise HTTPException(error.status if error.status < 500 else 503, error.detail) from error
    return {"job_id": document.job.id, "document_id": document.id, "status": "queued"}


@app.get("/jobs/{job_id}")
async def status(job_id: str) -> dict[str, Any]:
    """Where the work stands."""
    longhaul: AsyncLonghaul = app.state.longhaul
    try:
        job = await longhaul.jobs.get(job_id)
    except APIError as error:
        raise HTTPException(error.status, error.detail) from error
    error_said = None if job.error is None else {"code": job.error.code, "message": job.error.message}
    return {
        "job_id": job.job_id,
        "status": job.status,
        "progress": job.progress.fraction,
        "result": job.output,
        "error": error_said,
    }
