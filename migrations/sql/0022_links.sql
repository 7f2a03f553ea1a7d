-- That an entry names the one before it, that a case's row names its last entry, and that a child comes with a version, are
-- checked by the triggers that write at that row anyway. What they look for is never changed or deleted (entry_stays), so
-- no lock on it is needed: the foreign keys wrote one to each entry, and needed an index of every hash. What is demanded is
-- the same as before (0001_guards.sql); docs/adr/0002-ledger-entry-in-the-transaction.md has why, and what it saved.

-- Owner's rights: who may write an entry need not be allowed to read those before.
CREATE FUNCTION diwan_entry_follows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.ledger_pending (tenant, chain, seq, hash)
    SELECT NEW.tenant, NEW.chain, NEW.seq, NEW.hash
    WHERE NEW.seq = 1 OR EXISTS (
        SELECT FROM public.entry e
        WHERE e.tenant = NEW.tenant AND e.chain = NEW.chain AND e.seq = NEW.prev_seq AND e.hash = NEW.prev_hash
    );
    IF NOT FOUND THEN
        RAISE EXCEPTION 'entry: it does not name the one before it' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

-- At commit, of a case whose version is another, or that stands otherwise.
CREATE FUNCTION diwan_case_headed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.entry e
    WHERE e.tenant = NEW.tenant AND e.chain = NEW.id AND e.seq = NEW.version AND e.hash = NEW.head;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'case_file: its version is not that of an entry' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION diwan_keep_case() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT NEW.tenant, NEW.id, NEW.version, 'case_file', '',
        to_jsonb(NEW) - ARRAY['tenant', 'id', 'head', 'changed_in', 'rung_at', 'rings', 'traceparent']
    FROM public.entry e
    WHERE e.tenant = NEW.tenant AND e.chain = NEW.id AND e.seq = NEW.version AND e.hash = NEW.head
    ON CONFLICT (tenant, case_id, relation, key, version) DO UPDATE SET was = excluded.was;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'case_file: its version is not that of an entry' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

-- At commit, of a row that came: as diwan_child_changed for those that change or go.
CREATE OR REPLACE FUNCTION diwan_keep_came() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT c.tenant, c.id, c.version, TG_TABLE_NAME, NEW.id, '{}'
    FROM public.case_file c
    WHERE c.tenant = NEW.tenant AND c.id = NEW.case_id AND c.changed_in = pg_current_xact_id()::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: a change without a new version of its case', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION diwan_keep_fact() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT c.tenant, c.id, c.version, 'fact', NEW.name || '/' || NEW.provenance || '/' || NEW.revision, '{}'
    FROM public.case_file c
    WHERE c.tenant = NEW.tenant AND c.id = NEW.case_id AND c.changed_in = pg_current_xact_id()::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'fact: a change without a new version of its case'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION diwan_entry_follows(), diwan_case_headed() FROM PUBLIC;

DROP TRIGGER entry_pending ON entry;
CREATE TRIGGER entry_follows AFTER INSERT ON entry FOR EACH ROW EXECUTE FUNCTION diwan_entry_follows();
DROP FUNCTION diwan_entry_pending();

DROP TRIGGER case_file_past_moved ON case_file;
CREATE CONSTRAINT TRIGGER case_file_moved AFTER UPDATE ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.number, OLD.status, OLD.state, OLD.inbox_last, OLD.inbox_cursor, OLD.kind, OLD.wake_at, OLD.blocked,
           OLD.closed_at) IS DISTINCT FROM (NEW.number, NEW.status, NEW.state, NEW.inbox_last, NEW.inbox_cursor, NEW.kind,
           NEW.wake_at, NEW.blocked, NEW.closed_at))
    EXECUTE FUNCTION diwan_keep_case();
CREATE CONSTRAINT TRIGGER case_file_headed AFTER UPDATE ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.version, OLD.head) IS DISTINCT FROM (NEW.version, NEW.head)
          AND (OLD.number, OLD.status, OLD.state, OLD.inbox_last, OLD.inbox_cursor, OLD.kind, OLD.wake_at, OLD.blocked,
               OLD.closed_at) IS NOT DISTINCT FROM (NEW.number, NEW.status, NEW.state, NEW.inbox_last, NEW.inbox_cursor,
               NEW.kind, NEW.wake_at, NEW.blocked, NEW.closed_at))
    EXECUTE FUNCTION diwan_case_headed();

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['party', 'proposal', 'decision', 'letter', 'fact'] LOOP
        EXECUTE format('DROP TRIGGER %I ON %I', t || '_of_version', t);
        EXECUTE format('CREATE CONSTRAINT TRIGGER %I AFTER UPDATE OR DELETE ON %I DEFERRABLE INITIALLY DEFERRED '
                       'FOR EACH ROW EXECUTE FUNCTION diwan_child_changed()', t || '_of_version', t);
    END LOOP;
END $$;

ALTER TABLE case_file DROP CONSTRAINT case_file_head;
ALTER TABLE entry DROP CONSTRAINT entry_tenant_chain_prev_seq_prev_hash_fkey;
ALTER TABLE entry DROP CONSTRAINT entry_tenant_chain_seq_hash_key;
