-- What a host serves, so that a recorded call is sent again only to one that is what answered it then.
ALTER TABLE pool_host ADD COLUMN weights_digest TEXT NOT NULL DEFAULT '';
ALTER TABLE pool_host ADD COLUMN tokenizer_digest TEXT NOT NULL DEFAULT '';
ALTER TABLE pool_host ADD COLUMN batch_invariant TEXT NOT NULL DEFAULT 'unknown'
    CONSTRAINT pool_host_batch_invariant CHECK (batch_invariant IN ('yes', 'no', 'unknown'));

-- A recorded model call, sent again because somebody asked. Its case stands as it stood: each row is asked for and ended
-- with an entry of the case's, and nothing else of the case changes.
CREATE TABLE model_rerun (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    call INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    entry_seq BIGINT NOT NULL,
    asked_by TEXT NOT NULL,
    key TEXT NOT NULL,
    status TEXT DEFAULT 'asked' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    conditions JSONB,
    response_sealed BYTEA,
    report_sealed BYTEA,
    asked_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, asked_by, key),
    FOREIGN KEY (tenant, run_id, call, attempt) REFERENCES model_call (tenant, run_id, call, attempt),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id),
    CONSTRAINT model_rerun_status CHECK (status IN ('asked', 'identical', 'differs', 'not_run')
        AND (status = 'asked') = (ended_at IS NULL) AND (status = 'not_run') = (reason <> ''))
);
-- One at a time of a call, and what the relay looks for.
CREATE UNIQUE INDEX model_rerun_asked ON model_rerun (tenant, run_id, call, attempt) WHERE status = 'asked';

ALTER TABLE model_rerun ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_rerun FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON model_rerun USING (tenant = nullif(current_setting('diwan.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('diwan.tenant', true), ''));
CREATE POLICY for_relay ON model_rerun FOR SELECT TO diwan_relay USING (status = 'asked');
CREATE CONSTRAINT TRIGGER model_rerun_of_version AFTER INSERT OR UPDATE OR DELETE ON model_rerun
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION diwan_child_changed();

GRANT SELECT ON model_rerun TO diwan_web, diwan_worker, diwan_pool, diwan_auditor;
GRANT INSERT ON model_rerun TO diwan_web;
GRANT UPDATE (status, reason, conditions, response_sealed, report_sealed, ended_at) ON model_rerun TO diwan_pool;
GRANT UPDATE (status, reason, ended_at) ON model_rerun TO diwan_worker;
GRANT SELECT (tenant, id, case_id, status, asked_at) ON model_rerun TO diwan_relay;
