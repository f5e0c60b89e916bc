-- The picture of all migrations: what `python -m junctor.store.migrate` makes of an empty file.
-- A test compares the two. Money is in 1e-9 USD (nano-dollars), so that sums are exact; times are UTC,
-- ISO 8601 with milliseconds.

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- One row for every HTTP request that asks for an answer, whatever became of it (pool/ledger.py).
CREATE TABLE ledger (
    request_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    caller TEXT NOT NULL,
    route TEXT NOT NULL,
    asked_model TEXT NOT NULL,
    model TEXT,
    decision_id TEXT,
    stream BOOLEAN NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    tokens_estimated BOOLEAN NOT NULL,
    usd_nano BIGINT NOT NULL,
    price_source TEXT NOT NULL,
    strongest_model TEXT,
    strongest_usd_nano BIGINT NOT NULL,
    saved_usd_nano BIGINT NOT NULL,
    first_token_ms DOUBLE,
    total_ms DOUBLE NOT NULL,
    attempts INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    http_status INTEGER NOT NULL,
    CONSTRAINT ledger_pkey PRIMARY KEY (request_id)
);
CREATE INDEX ledger_by_time ON ledger (created_at);

-- Why each routed request went where it went: `document` is a Decision as JSON (routing/store.py).
CREATE TABLE decisions (
    id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    chosen TEXT NOT NULL,
    mode TEXT NOT NULL,
    document TEXT NOT NULL,
    CONSTRAINT decisions_pkey PRIMARY KEY (id)
);
CREATE INDEX decisions_by_request ON decisions (request_id);
