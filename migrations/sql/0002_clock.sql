-- The order of instants in a case, and whether the clock may be trusted. docs/adr/0015-legal-time.md says why.

-- The instant of the last version: none is stamped before it. Unknown for cases of the first release.
ALTER TABLE case_file ADD COLUMN changed_at timestamptz;

-- As in 0001_guards.sql; a pool worker's version has an instant, too.
CREATE OR REPLACE FUNCTION diwan_case_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    probe public.case_file;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.version <> 1 THEN
            RAISE EXCEPTION 'case_file: a case starts at version 1' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        NEW.changed_in := pg_current_xact_id()::text;
        RETURN NEW;
    END IF;
    -- A pool worker adds an entry, and so a version; where the case stands is not its to say. The function runs with
    -- its caller's rights, so current_user is the role that updates.
    IF current_user = 'diwan_pool' THEN
        probe := NEW;
        probe.version := OLD.version;
        probe.head := OLD.head;
        probe.changed_in := OLD.changed_in;
        probe.changed_at := OLD.changed_at;
        IF probe IS DISTINCT FROM OLD THEN
            RAISE EXCEPTION 'case_file: a pool worker changes only the version of a case'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;
    probe := NEW;
    probe.rung_at := OLD.rung_at;
    probe.rings := OLD.rings;
    probe.changed_in := OLD.changed_in;
    IF probe IS NOT DISTINCT FROM OLD THEN
        NEW.changed_in := OLD.changed_in;
        RETURN NEW;
    END IF;
    IF NEW.tenant <> OLD.tenant OR NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'case_file: a case keeps its tenant and id' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.changed_in = pg_current_xact_id()::text THEN
        IF NEW.version <> OLD.version OR NEW.head <> OLD.head THEN
            RAISE EXCEPTION 'case_file: one version a transaction'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'case_file: a change raises the version by one'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.changed_in := pg_current_xact_id()::text;
    RETURN NEW;
END $$;

-- One row a ministry: what its clocks said last, and since when its legal dates stand still, if they do.
CREATE TABLE clock_watch (
    tenant TEXT NOT NULL,
    seen_at timestamptz,
    anchors JSONB NOT NULL DEFAULT '{}',
    frozen_at timestamptz,
    stands_at timestamptz,
    reason TEXT NOT NULL DEFAULT '',
    off_s BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant),
    CONSTRAINT clock_watch_frozen CHECK ((frozen_at IS NULL) = (stands_at IS NULL) AND (frozen_at IS NULL) = (reason = ''))
);

-- FORCE holds the owner, too, who has to see every ministry once.
ALTER TABLE tenant NO FORCE ROW LEVEL SECURITY;
INSERT INTO clock_watch (tenant) SELECT tenant FROM tenant;
ALTER TABLE tenant FORCE ROW LEVEL SECURITY;

ALTER TABLE clock_watch ENABLE ROW LEVEL SECURITY;
ALTER TABLE clock_watch FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON clock_watch USING (tenant = nullif(current_setting('diwan.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('diwan.tenant', true), ''));
-- The case worker keeps watch for every ministry, the relay does not ring for dates that stand still: both see rows of
-- all, and nobody changes another's.
CREATE POLICY seen_by_worker ON clock_watch FOR SELECT TO diwan_worker USING (true);
CREATE POLICY seen_by_relay ON clock_watch FOR SELECT TO diwan_relay USING (true);
GRANT SELECT ON clock_watch TO diwan_web, diwan_worker, diwan_auditor;
GRANT UPDATE ON clock_watch TO diwan_web, diwan_worker;
GRANT SELECT (tenant, frozen_at, stands_at) ON clock_watch TO diwan_relay;
