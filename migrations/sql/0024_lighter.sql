-- What a change is checked by, for less: nothing that is demanded is less than before (0022_links.sql). A condition of a
-- trigger and a generated column are read anew from the catalogue by each statement, a function's own are not; and a row
-- that only comes can say itself with which version of its case.

-- Of a case that came, or of which any of this was set. What a case keeps all its life is not copied.
CREATE OR REPLACE FUNCTION diwan_keep_case() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' OR (OLD.number, OLD.status, OLD.state, OLD.inbox_last, OLD.inbox_cursor, OLD.kind, OLD.wake_at,
            OLD.blocked, OLD.closed_at) IS DISTINCT FROM (NEW.number, NEW.status, NEW.state, NEW.inbox_last,
            NEW.inbox_cursor, NEW.kind, NEW.wake_at, NEW.blocked, NEW.closed_at) THEN
        INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
        SELECT NEW.tenant, NEW.id, NEW.version, 'case_file', '', jsonb_build_object(
            'number', NEW.number, 'status', NEW.status, 'state', NEW.state, 'inbox_last', NEW.inbox_last,
            'inbox_cursor', NEW.inbox_cursor, 'kind', NEW.kind, 'wake_at', NEW.wake_at, 'blocked', NEW.blocked,
            'closed_at', NEW.closed_at)
        FROM public.entry e
        WHERE e.tenant = NEW.tenant AND e.chain = NEW.id AND e.seq = NEW.version AND e.hash = NEW.head
        ON CONFLICT (tenant, case_id, relation, key, version) DO UPDATE SET was = excluded.was;
    ELSE
        PERFORM FROM public.entry e
        WHERE e.tenant = NEW.tenant AND e.chain = NEW.id AND e.seq = NEW.version AND e.hash = NEW.head;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'case_file: its version is not that of an entry' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER case_file_moved ON case_file;
DROP TRIGGER case_file_headed ON case_file;
DROP FUNCTION diwan_case_headed();
CREATE CONSTRAINT TRIGGER case_file_kept AFTER UPDATE OF
    version, head, number, status, state, inbox_last, inbox_cursor, kind, wake_at, blocked, closed_at ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION diwan_keep_case();

-- As before, but that a row is copied only where it has to be looked at as a whole.
CREATE OR REPLACE FUNCTION diwan_case_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    this CONSTANT text := pg_current_xact_id()::text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.version <> 1 THEN
            RAISE EXCEPTION 'case_file: a case starts at version 1' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        NEW.changed_in := this;
        RETURN NEW;
    END IF;
    IF NEW.tenant <> OLD.tenant OR NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'case_file: a case keeps its tenant and id' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.version = OLD.version + 1 AND OLD.changed_in IS DISTINCT FROM this THEN
        NEW.changed_in := this;
        RETURN NEW;
    END IF;
    DECLARE
        probe public.case_file := NEW;
    BEGIN
        probe.rung_at := OLD.rung_at;
        probe.rings := OLD.rings;
        probe.changed_in := OLD.changed_in;
        IF probe IS NOT DISTINCT FROM OLD THEN
            NEW.changed_in := OLD.changed_in;
            RETURN NEW;
        END IF;
    END;
    IF OLD.changed_in IS DISTINCT FROM this THEN
        RAISE EXCEPTION 'case_file: a change raises the version by one'
            USING ERRCODE = 'integrity_constraint_violation';
    ELSIF NEW.version <> OLD.version OR NEW.head <> OLD.head THEN
        RAISE EXCEPTION 'case_file: one version a transaction'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.changed_in := this;
    RETURN NEW;
END $$;

-- Both links are looked up by one statement; which of them is missing is asked only where one is.
CREATE OR REPLACE FUNCTION diwan_entry_follows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.ledger_pending (tenant, chain, seq, hash)
    SELECT NEW.tenant, NEW.chain, NEW.seq, NEW.hash
    WHERE (NEW.seq = 1 OR EXISTS (
        SELECT FROM public.entry e
        WHERE e.tenant = NEW.tenant AND e.chain = NEW.chain AND e.seq = NEW.seq - 1 AND e.hash = NEW.prev_hash
    )) AND (strpos(NEW.chain, '/') > 0 OR EXISTS (
        SELECT FROM public.case_file c
        WHERE c.tenant = NEW.tenant AND c.id = NEW.chain AND c.version >= NEW.seq
            AND c.changed_in = pg_current_xact_id()::text
    ));
    IF NOT FOUND THEN
        IF NEW.seq > 1 AND NOT EXISTS (
            SELECT FROM public.entry e
            WHERE e.tenant = NEW.tenant AND e.chain = NEW.chain AND e.seq = NEW.seq - 1 AND e.hash = NEW.prev_hash
        ) THEN
            RAISE EXCEPTION 'entry: it does not name the one before it' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RAISE EXCEPTION 'entry: an entry without a change of its case' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
ALTER TABLE entry DROP COLUMN prev_seq;

-- A pool worker's right, and asked of nobody else.
DROP TRIGGER entry_of_pool ON entry;
DROP FUNCTION diwan_pool_on_cases();
CREATE POLICY pool_on_cases ON entry AS RESTRICTIVE FOR INSERT TO diwan_pool WITH CHECK (strpos(chain, '/') = 0);

-- A fact never changes: with which version it came stands in its own row, and at commit this has to be so.
ALTER TABLE fact ADD COLUMN version BIGINT;
ALTER TABLE fact NO FORCE ROW LEVEL SECURITY;
ALTER TABLE case_past NO FORCE ROW LEVEL SECURITY;
ALTER TABLE fact DISABLE TRIGGER USER;
ALTER TABLE case_past DISABLE TRIGGER USER;
UPDATE fact f SET version = p.version FROM case_past p
WHERE p.tenant = f.tenant AND p.case_id = f.case_id AND p.relation = 'fact'
    AND p.key = f.name || '/' || f.provenance || '/' || f.revision;
DELETE FROM case_past WHERE relation = 'fact';
ALTER TABLE fact ENABLE TRIGGER USER;
ALTER TABLE case_past ENABLE TRIGGER USER;
ALTER TABLE case_past FORCE ROW LEVEL SECURITY;
ALTER TABLE fact FORCE ROW LEVEL SECURITY;
ALTER TABLE fact ALTER COLUMN version SET NOT NULL;

CREATE FUNCTION diwan_fact_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.case_file c
    WHERE c.tenant = NEW.tenant AND c.id = NEW.case_id AND c.version = NEW.version
        AND c.changed_in = pg_current_xact_id()::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'fact: a change without a new version of its case'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER fact_past ON fact;
DROP FUNCTION diwan_keep_fact();
CREATE CONSTRAINT TRIGGER fact_came AFTER INSERT ON fact
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION diwan_fact_came();
