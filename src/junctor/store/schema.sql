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
    key_id TEXT DEFAULT '' NOT NULL,
    cache_written_tokens BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT ledger_pkey PRIMARY KEY (request_id)
);
CREATE INDEX ledger_by_time ON ledger (created_at);
CREATE INDEX ledger_by_key ON ledger (key_id, created_at);

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

-- API keys (gateway/key_store.py): what they may do, and digests of them, never the keys. Revoked ones stay.
CREATE TABLE keys (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    old_digest TEXT,
    old_digest_until TEXT,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    is_admin BOOLEAN NOT NULL,
    models TEXT NOT NULL,
    requests_per_minute BIGINT,
    tokens_per_minute BIGINT,
    usd_nano_per_day BIGINT,
    usd_nano_per_month BIGINT,
    strongest_share DOUBLE,
    CONSTRAINT keys_pkey PRIMARY KEY (id)
);

-- Answers of the Responses API that a later request may go on from (gateway/response_store.py).
CREATE TABLE responses (
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    key_id TEXT NOT NULL,
    document TEXT NOT NULL,
    CONSTRAINT responses_pkey PRIMARY KEY (id)
);
CREATE INDEX responses_by_time ON responses (created_at);

-- Replies that a repeated `Idempotency-Key` gets again (gateway/idempotency.py).
CREATE TABLE idempotency (
    key_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    created_at TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    request_id TEXT NOT NULL,
    status INTEGER,
    headers TEXT,
    body BLOB,
    CONSTRAINT idempotency_pkey PRIMARY KEY (key_id, idempotency_key)
);
CREATE INDEX idempotency_by_time ON idempotency (created_at);

-- What was learnt from outcomes (routing/calibration/store.py): `document` is JSON of a form that `kind` names.
-- One of a kind is current; the older ones stay, to go back to.
CREATE TABLE calibrations (
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    kind TEXT NOT NULL,
    is_current BOOLEAN NOT NULL,
    document TEXT NOT NULL,
    CONSTRAINT calibrations_pkey PRIMARY KEY (id)
);
CREATE INDEX calibrations_by_kind ON calibrations (kind, created_at);

-- What callers say of an answer, 0..1 (routing/measuring/feedback.py).
CREATE TABLE feedback (
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    request_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    score DOUBLE NOT NULL,
    CONSTRAINT feedback_pkey PRIMARY KEY (id)
);
CREATE INDEX feedback_by_request ON feedback (request_id);
CREATE INDEX feedback_by_time ON feedback (created_at);

-- A sample of routed requests that the strongest model answered, too: how the two answers compare
-- (routing/measuring/shadow.py). `difference`: -1 (ours is worse) .. 1 (better); NULL when nothing could be compared.
CREATE TABLE shadows (
    request_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    strongest TEXT NOT NULL,
    verdict TEXT NOT NULL,
    difference DOUBLE,
    judge TEXT NOT NULL,
    usd_nano BIGINT NOT NULL,
    CONSTRAINT shadows_pkey PRIMARY KEY (request_id)
);
CREATE INDEX shadows_by_time ON shadows (created_at);
