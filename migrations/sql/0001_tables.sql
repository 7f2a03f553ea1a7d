-- Tables as of the first release. Frozen: a later change is a later migration. diwan/store/tables/ says what they hold.

CREATE TABLE tenant (
    tenant TEXT NOT NULL,
    settings JSONB NOT NULL,
    PRIMARY KEY (tenant)
);

CREATE TABLE source (
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    client TEXT NOT NULL,
    PRIMARY KEY (tenant, source, client)
);

CREATE TABLE webhook (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    url TEXT NOT NULL,
    secret_name TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE procedure_version (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    hash TEXT NOT NULL,
    body TEXT NOT NULL,
    published_at timestamptz NOT NULL,
    published_by TEXT NOT NULL,
    PRIMARY KEY (tenant, name, version),
    UNIQUE (tenant, hash)
);

CREATE TABLE delegation (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    subject TEXT NOT NULL,
    procedure TEXT NOT NULL,
    results TEXT[] NOT NULL,
    amount_limit BIGINT,
    valid_from DATE NOT NULL,
    valid_to DATE NOT NULL,
    revoked_on DATE,
    reference TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE numbering (
    tenant TEXT NOT NULL,
    series TEXT NOT NULL,
    last BIGINT NOT NULL,
    PRIMARY KEY (tenant, series)
);

CREATE TABLE entry (
    tenant TEXT NOT NULL,
    chain TEXT NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    prev_seq BIGINT GENERATED ALWAYS AS (nullif(seq - 1, 0)) STORED,
    prev_hash BYTEA,
    header BYTEA NOT NULL,
    body_sealed BYTEA,
    kind TEXT NOT NULL,
    at timestamptz NOT NULL,
    CHECK (seq >= 1),
    CHECK ((seq = 1) = (prev_hash IS NULL)),
    CHECK (octet_length(hash) = 32),
    CHECK (octet_length(header) <= 4096),
    PRIMARY KEY (tenant, chain, seq),
    UNIQUE (tenant, chain, seq, hash),
    FOREIGN KEY (tenant, chain, prev_seq, prev_hash) REFERENCES entry (tenant, chain, seq, hash)
);

CREATE TABLE case_file (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    number TEXT NOT NULL,
    source TEXT NOT NULL,
    reference TEXT NOT NULL,
    procedure TEXT NOT NULL,
    procedure_version TEXT NOT NULL,
    procedure_hash TEXT NOT NULL,
    status TEXT NOT NULL,
    language TEXT NOT NULL,
    version BIGINT NOT NULL,
    head BYTEA NOT NULL,
    changed_in TEXT,
    state JSONB NOT NULL,
    inbox_last BIGINT NOT NULL,
    inbox_cursor BIGINT NOT NULL,
    kind TEXT NOT NULL,
    wake_at timestamptz,
    blocked TEXT DEFAULT '' NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    rung_at timestamptz,
    rings INTEGER DEFAULT 0 NOT NULL,
    CHECK (id NOT LIKE '%/%'),
    CHECK (inbox_cursor BETWEEN 0 AND inbox_last),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, number),
    UNIQUE (tenant, source, reference),
    FOREIGN KEY (tenant, procedure_hash) REFERENCES procedure_version (tenant, hash)
);

CREATE TABLE party (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    role TEXT NOT NULL,
    language TEXT NOT NULL,
    party_sealed BYTEA NOT NULL,
    name_token TEXT NOT NULL,
    identity_token TEXT NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE inbox (
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    case_id TEXT,
    inbox_seq BIGINT,
    type TEXT NOT NULL,
    digest TEXT NOT NULL,
    body_sealed BYTEA NOT NULL,
    traceparent TEXT DEFAULT '' NOT NULL,
    accepted_at timestamptz NOT NULL,
    accepted_from TEXT NOT NULL,
    consumed_at timestamptz,
    consumed_by TEXT DEFAULT '' NOT NULL,
    CHECK ((case_id IS NULL) = (inbox_seq IS NULL)),
    PRIMARY KEY (tenant, source, event_id),
    UNIQUE (tenant, case_id, inbox_seq),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE blob (
    tenant TEXT NOT NULL,
    hash TEXT NOT NULL,
    bytes_sealed BYTEA NOT NULL,
    PRIMARY KEY (tenant, hash)
);

CREATE TABLE document (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT,
    event_id TEXT NOT NULL,
    piece TEXT NOT NULL,
    name_sealed BYTEA NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    blob TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    pages INTEGER NOT NULL,
    flags TEXT[] NOT NULL,
    uploaded_by TEXT NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, blob) REFERENCES blob (tenant, hash),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE page (
    tenant TEXT NOT NULL,
    document_id TEXT NOT NULL,
    page INTEGER NOT NULL,
    case_id TEXT NOT NULL,
    text_sealed BYTEA NOT NULL,
    PRIMARY KEY (tenant, document_id, page),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE fact (
    tenant TEXT NOT NULL,
    case_id TEXT NOT NULL,
    name TEXT NOT NULL,
    provenance TEXT NOT NULL,
    revision INTEGER NOT NULL,
    fact_sealed BYTEA NOT NULL,
    established_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, case_id, name, provenance, revision),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE agent_run (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    step TEXT NOT NULL,
    visit INTEGER NOT NULL,
    spec TEXT NOT NULL,
    prompts TEXT NOT NULL,
    status TEXT NOT NULL,
    outcome TEXT DEFAULT '' NOT NULL,
    calls INTEGER DEFAULT 0 NOT NULL,
    tokens BIGINT DEFAULT 0 NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, case_id, step, visit),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE model_call (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    call INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    case_id TEXT NOT NULL,
    model TEXT NOT NULL,
    final BOOLEAN DEFAULT false NOT NULL,
    request_sealed BYTEA NOT NULL,
    response_sealed BYTEA,
    status TEXT NOT NULL,
    broken TEXT DEFAULT '' NOT NULL,
    used BOOLEAN DEFAULT false NOT NULL,
    usage JSONB,
    engine TEXT DEFAULT '' NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (tenant, run_id, call, attempt),
    FOREIGN KEY (tenant, run_id) REFERENCES agent_run (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE tool_call (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    call INTEGER NOT NULL,
    position INTEGER NOT NULL,
    case_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    effect TEXT NOT NULL,
    arguments_sealed BYTEA NOT NULL,
    result_sealed BYTEA,
    status TEXT NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (tenant, run_id, call, position),
    FOREIGN KEY (tenant, run_id) REFERENCES agent_run (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE proposal (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    proposer TEXT NOT NULL,
    proposal_sealed BYTEA NOT NULL,
    commitment TEXT NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, case_id, revision),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE task (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT,
    kind TEXT NOT NULL,
    step TEXT NOT NULL,
    visit INTEGER NOT NULL,
    status TEXT NOT NULL,
    assignee TEXT DEFAULT '' NOT NULL,
    proposer TEXT DEFAULT '' NOT NULL,
    proposal_id TEXT DEFAULT '' NOT NULL,
    roles TEXT[] NOT NULL,
    shown_sealed BYTEA NOT NULL,
    digest TEXT NOT NULL,
    outcome TEXT DEFAULT '' NOT NULL,
    completed_by TEXT DEFAULT '' NOT NULL,
    created_at timestamptz NOT NULL,
    due_at timestamptz,
    completed_at timestamptz,
    CHECK (outcome <> 'approved' OR completed_by <> proposer),
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE task_act (
    tenant TEXT NOT NULL,
    task_id TEXT NOT NULL,
    key TEXT NOT NULL,
    case_id TEXT,
    act TEXT NOT NULL,
    subject TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    answer JSONB NOT NULL,
    reason_sealed BYTEA,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant, task_id, key),
    FOREIGN KEY (tenant, task_id) REFERENCES task (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE decision (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    result TEXT NOT NULL,
    decision_sealed BYTEA NOT NULL,
    commitment TEXT NOT NULL,
    signed_by TEXT NOT NULL,
    delegation_id TEXT NOT NULL,
    signed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, case_id),
    FOREIGN KEY (tenant, delegation_id) REFERENCES delegation (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE letter (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    language TEXT NOT NULL,
    number TEXT NOT NULL,
    blob TEXT NOT NULL,
    content_sealed BYTEA NOT NULL,
    template TEXT NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, blob) REFERENCES blob (tenant, hash),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE notification (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    letter_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    sent_at timestamptz NOT NULL,
    received_at timestamptz,
    proof_sealed BYTEA,
    status TEXT NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, letter_id) REFERENCES letter (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

CREATE TABLE outbox (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT,
    type TEXT NOT NULL,
    payload JSONB NOT NULL,
    webhook_id TEXT NOT NULL,
    created_at timestamptz NOT NULL,
    delivered_at timestamptz,
    next_at timestamptz NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    last_status TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, webhook_id) REFERENCES webhook (tenant, id)
);

-- The case's head is its last entry. Deferred: the entry and the case's row are written in either order.
ALTER TABLE case_file ADD CONSTRAINT case_file_head
    FOREIGN KEY (tenant, id, version, head) REFERENCES entry (tenant, chain, seq, hash) DEFERRABLE INITIALLY DEFERRED;

-- At most one stored answer of a call is used: the first.
CREATE UNIQUE INDEX model_call_used ON model_call (tenant, run_id, call) WHERE used;

CREATE INDEX case_file_opened ON case_file (tenant, opened_at DESC, id DESC);
CREATE INDEX case_file_unconsumed ON case_file (rung_at) WHERE inbox_last > inbox_cursor;
CREATE INDEX case_file_waking ON case_file (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX party_case ON party (tenant, case_id);
CREATE INDEX party_name ON party (tenant, name_token);
CREATE INDEX party_identity ON party (tenant, identity_token);
CREATE INDEX document_case ON document (tenant, case_id);
CREATE INDEX page_case ON page (tenant, case_id);
CREATE INDEX task_worklist ON task (tenant, created_at, id) WHERE status IN ('open', 'claimed');
CREATE INDEX task_case ON task (tenant, case_id);
CREATE INDEX letter_case ON letter (tenant, case_id);
CREATE INDEX notification_case ON notification (tenant, case_id);
CREATE INDEX delegation_subject ON delegation (tenant, subject);
CREATE INDEX outbox_due ON outbox (next_at) WHERE delivered_at IS NULL;
