-- Runs of workflows: each is known by the first activity that it has done here, and its history is kept when it has
-- ended, before Temporal deletes it. What a row says changes nothing of its case: no child of the version. That a
-- history was kept does, with an entry that names its digest.
CREATE TABLE workflow_run (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL,
    seen_at timestamptz NOT NULL,
    look_at timestamptz NOT NULL,
    closed_at timestamptz,
    missing_since timestamptz,
    digest TEXT DEFAULT '' NOT NULL,
    blob TEXT,
    entry_seq BIGINT,
    PRIMARY KEY (tenant, run_id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id),
    FOREIGN KEY (tenant, blob) REFERENCES blob (tenant, hash),
    CONSTRAINT workflow_run_state CHECK (state IN ('open', 'kept', 'lost', 'erased')
        AND (state = 'kept') = (blob IS NOT NULL AND digest <> '')
        AND (state IN ('kept', 'lost')) = (entry_seq IS NOT NULL))
);
CREATE INDEX workflow_run_open ON workflow_run (look_at) WHERE state = 'open';
CREATE INDEX workflow_run_of_case ON workflow_run (tenant, case_id);

-- What is known of a run stays so: only where it stands moves, and from `open` only.
CREATE FUNCTION diwan_run_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'open' OR (NEW.tenant, NEW.run_id, NEW.workflow_id, NEW.case_id, NEW.seen_at)
            IS DISTINCT FROM (OLD.tenant, OLD.run_id, OLD.workflow_id, OLD.case_id, OLD.seen_at) THEN
        RAISE EXCEPTION 'workflow_run: what was kept stays as it is' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER workflow_run_stays BEFORE UPDATE ON workflow_run FOR EACH ROW EXECUTE FUNCTION diwan_run_stays();

ALTER TABLE workflow_run ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_run FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON workflow_run USING (tenant = nullif(current_setting('diwan.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('diwan.tenant', true), ''));
-- The case worker looks after the runs of every ministry, the relay counts what waits: both see ids and times only.
CREATE POLICY seen_by_worker ON workflow_run FOR SELECT TO diwan_worker USING (state = 'open');
CREATE POLICY seen_by_relay ON workflow_run FOR SELECT TO diwan_relay USING (state = 'open');

GRANT SELECT ON workflow_run TO diwan_web, diwan_worker, diwan_auditor;
GRANT INSERT (tenant, run_id, workflow_id, case_id, seen_at, look_at) ON workflow_run TO diwan_worker;
GRANT UPDATE (state, look_at, closed_at, missing_since, digest, blob, entry_seq) ON workflow_run TO diwan_worker;
GRANT SELECT (tenant, state, look_at, closed_at) ON workflow_run TO diwan_relay;
